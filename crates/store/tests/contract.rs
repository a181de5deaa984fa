//! The contract of a store, on both engines: one suite (`contract/suite.rs`), each part on an empty store.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "contract/control.rs"]
mod control;
#[path = "contract/make.rs"]
mod make;
#[path = "contract/suite.rs"]
mod suite;

use std::future::Future;
use std::sync::Arc;
use store::Store;
use store::embedded::OpenOptions;
use store::pg::{LEASE, PgOptions};
use testkit::postgres::Postgres;

fn wait(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(work);
}

fn embedded<F: Future<Output = ()>>(part: impl FnOnce(Store) -> F) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_embedded(&OpenOptions::below(folder.path(), Arc::new(|| make::NOON))).unwrap();
    wait(part(store));
}

/// Each part in a database of its own of one cluster.
struct Databases {
    cluster: Postgres,
    folder: tempfile::TempDir,
    count: u32,
}

impl Databases {
    fn new() -> Self {
        Self {
            cluster: Postgres::start().unwrap(),
            folder: tempfile::tempdir().unwrap(),
            count: 0,
        }
    }

    fn run<F: Future<Output = ()>>(&mut self, name: &str, part: impl FnOnce(Store) -> F) {
        eprintln!("PostgreSQL: {name}");
        self.count += 1;
        let database = format!("part_{}", self.count);
        wait(async {
            let (client, connection) = tokio_postgres::connect(&self.cluster.url(), tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(connection);
            client.batch_execute(&format!("CREATE DATABASE {database}")).await.unwrap();
        });
        let options = PgOptions {
            url: self.cluster.url_of(&database),
            blobs_dir: self.folder.path().join(&database),
            now: Arc::new(|| make::NOON),
            node_name: "one".into(),
            lease: LEASE,
        };
        wait(part(Store::open_postgres(&options).unwrap()));
    }
}

mod part {
    pub(crate) use super::control::*;
    pub(crate) use super::suite::*;
}

macro_rules! parts {
    ($($part:ident),+ $(,)?) => {
        mod on_the_embedded_engine {
            $(#[test] fn $part() { super::embedded(super::part::$part); })+
        }
        /// One test, since one cluster serves all parts.
        #[test]
        fn on_postgresql() {
            let mut databases = Databases::new();
            $(databases.run(stringify!($part), part::$part);)+
        }
    };
}

parts! {
    what_is_accepted_is_read_back,
    due_entries_come_soonest_first_and_by_pages,
    a_message_goes_with_its_last_entry,
    a_body_outside_goes_with_its_message,
    an_attempt_and_a_person_change_one_entry,
    messages_are_born_with_a_settlement,
    one_bad_member_takes_no_other_with_it,
    the_queue_is_listed_and_counted_by_filter,
    traces_are_found_by_what_happened,
    many_traces_are_found_after_they_left_memory,
    tracking_expires_by_tenant,
    control_jobs_are_whole_or_nothing,
    a_single_node_holds_its_lease,
    every_control_statement_prepares,
    tenants_are_kept,
    revisions_refuse_the_later_editor,
    changes_are_seen_once_and_in_order,
    the_first_to_prove_gets_the_name,
    two_tenants_that_prove_at_once,
    claims_lapse_and_domains_end_with_grace,
    looks_at_claims_are_bounded,
    ceilings_hold,
    recipient_lists_are_versions,
    imports_are_guarded_and_whole,
    a_plan_holds_for_the_list_it_was_made_for,
    api_keys_are_found_by_hash_alone,
    audit_is_filtered_and_bound_to_its_tenant,
    jobs_pauses_and_proofs,
}
