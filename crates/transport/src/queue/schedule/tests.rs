use super::*;

fn lane(n: i64) -> LaneId {
    LaneId(n)
}

fn starts(schedule: &mut Schedule<u32>, n: usize) -> Vec<(i64, i64, u32)> {
    (0..n)
        .map_while(|_| schedule.start_next())
        .map(|s| (s.tenant.0, s.lane.0, s.job))
        .collect()
}

#[test]
fn tenants_take_turns_whatever_their_backlog() {
    let mut schedule = Schedule::new(1_000);
    for job in 0..500 {
        schedule.push(TenantId(1), lane(10), Class::Waiting, 100, job);
    }
    assert_eq!(starts(&mut schedule, 3), [(1, 10, 0), (1, 10, 1), (1, 10, 2)]);
    schedule.push(TenantId(2), lane(20), Class::Fresh, 100, 7);
    // One more of tenant 1 at most.
    let next = starts(&mut schedule, 2);
    assert!(next.contains(&(2, 20, 7)), "{next:?}");
}

#[test]
fn a_tenant_behind_slow_hops_leaves_room_for_others() {
    let mut schedule = Schedule::new(100);
    for l in 0..1_000 {
        schedule.push(TenantId(1), lane(l), Class::Waiting, 20, 0);
    }
    let held = starts(&mut schedule, 1_000).len();
    assert_eq!(held, 50);
    for tenant in 2..6 {
        schedule.push(TenantId(tenant), lane(5_000 + tenant), Class::Fresh, 20, 1);
        assert_eq!(starts(&mut schedule, 10).len(), 1, "tenant {tenant}");
    }
}

#[test]
fn lanes_of_a_tenant_take_turns() {
    let mut schedule = Schedule::new(1_000);
    for job in 0..3 {
        for l in [10, 11] {
            schedule.push(TenantId(1), lane(l), Class::Waiting, 20, job);
        }
    }
    assert_eq!(
        starts(&mut schedule, 6),
        [(1, 10, 0), (1, 11, 0), (1, 10, 1), (1, 11, 1), (1, 10, 2), (1, 11, 2)]
    );
}

#[test]
fn a_lane_runs_no_more_than_it_may() {
    let mut schedule = Schedule::new(1_000);
    for job in 0..5 {
        schedule.push(TenantId(1), lane(10), Class::Fresh, 2, job);
    }
    assert_eq!(starts(&mut schedule, 5), [(1, 10, 0), (1, 10, 1)]);
    schedule.done(TenantId(1), lane(10));
    assert_eq!(starts(&mut schedule, 5), [(1, 10, 2)]);
}

#[test]
fn fresh_and_waiting_take_turns_and_a_job_put_back_is_first() {
    let mut schedule = Schedule::new(1_000);
    for job in 0..2 {
        schedule.push(TenantId(1), lane(10), Class::Waiting, 20, 100 + job);
        schedule.push(TenantId(1), lane(10), Class::Fresh, 20, job);
    }
    assert_eq!(starts(&mut schedule, 1), [(1, 10, 0)]);
    schedule.done(TenantId(1), lane(10));
    schedule.push_front(TenantId(1), lane(10), Class::Fresh, 20, 0);
    assert_eq!(starts(&mut schedule, 9), [(1, 10, 100), (1, 10, 0), (1, 10, 101), (1, 10, 1)]);
}

#[test]
fn drained_jobs_do_not_start() {
    let mut schedule = Schedule::new(10);
    schedule.push(TenantId(1), lane(10), Class::Fresh, 20, 1);
    schedule.push(TenantId(1), lane(11), Class::Waiting, 20, 2);
    assert_eq!(schedule.drain_lanes(&[lane(10)]), [1]);
    assert_eq!(starts(&mut schedule, 9), [(1, 11, 2)]);
    assert_eq!(schedule.ready(), 0);
}

/// A small generator, so that the model test needs no crate and repeats.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Random pushes, starts and ends against a plain model: nothing is lost or doubled, limits hold, nobody with a share waits while others start
/// more than once each.
#[test]
fn model() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let max = 1 + random.below(30) as usize;
        let mut schedule = Schedule::new(max);
        let mut waiting: BTreeMap<u32, (i64, i64)> = BTreeMap::new();
        let mut running: Vec<(i64, i64)> = Vec::new();
        let mut passed: BTreeMap<i64, BTreeMap<i64, u32>> = BTreeMap::new();
        let mut next_job = 0;
        for _ in 0..400 {
            let tenant = random.below(5) as i64;
            match random.below(3) {
                0 => {
                    let lane_number = tenant * 10 + random.below(3) as i64;
                    let class = if random.below(2) == 0 { Class::Fresh } else { Class::Waiting };
                    schedule.push(TenantId(tenant), lane(lane_number), class, 3, next_job);
                    waiting.insert(next_job, (tenant, lane_number));
                    next_job += 1;
                }
                1 => {
                    let Some(start) = schedule.start_next() else {
                        let may = |(t, l): &(i64, i64)| {
                            let own = running.iter().filter(|(rt, _)| rt == t).count();
                            running.len() < max
                                && has_share(own, max - running.len())
                                && running.iter().filter(|(_, rl)| rl == l).count() < 3
                        };
                        assert!(!waiting.values().any(may), "seed {seed}: someone could start");
                        continue;
                    };
                    assert_eq!(waiting.remove(&start.job), Some((start.tenant.0, start.lane.0)), "seed {seed}");
                    running.push((start.tenant.0, start.lane.0));
                    assert!(running.len() <= max);
                    assert!(running.iter().filter(|(_, l)| *l == start.lane.0).count() <= 3);
                    passed.remove(&start.tenant.0);
                    for other in 0..5 {
                        let own = running.iter().filter(|(t, _)| *t == other).count();
                        let may = |(t, l): &(i64, i64)| *t == other && running.iter().filter(|(_, rl)| rl == l).count() < 3;
                        let could = other != start.tenant.0 && has_share(own, max - running.len()) && waiting.values().any(may);
                        if could {
                            let count = passed.entry(other).or_default().entry(start.tenant.0).or_default();
                            *count += 1;
                            assert!(
                                *count <= 2,
                                "seed {seed}: tenant {other} was passed over {count} times by tenant {}",
                                start.tenant.0
                            );
                        } else {
                            passed.remove(&other);
                        }
                    }
                }
                _ => {
                    if !running.is_empty() {
                        let (t, l) = running.swap_remove(random.below(running.len() as u64) as usize);
                        schedule.done(TenantId(t), lane(l));
                    }
                }
            }
            assert_eq!(schedule.ready(), waiting.len());
            assert_eq!(schedule.running(), running.len());
        }
    }
}
