use super::*;
use mail::Timestamp;
use store::control::domain::VerifiedBy;
use store::control::revision::Save;
use store::control::tenant::{Ceilings, NewTenant};
use store::embedded::OpenOptions;
use store::sql::Tx;

const T0: Timestamp = Timestamp(1_800_000_000_000);
const DAY: Duration = Duration::from_secs(86_400);

struct House {
    store: Store,
    settings: Arc<Settings>,
    _folder: tempfile::TempDir,
}

impl House {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_embedded(&OpenOptions::below(folder.path(), Arc::new(|| T0))).unwrap();
        for name in ["acme", "bolt"] {
            let new = NewTenant {
                name: name.into(),
                title: String::new(),
                state: tenant::TenantState::Active,
                ceilings: Ceilings::default(),
            };
            store.write(move |tx| tenant::create(tx, &new, "test", T0).map(drop)).await.unwrap();
        }
        let (clock, _) = Clock::manual(T0);
        let settings = Settings::load(store.clone(), clock).await.unwrap();
        Self {
            store,
            settings,
            _folder: folder,
        }
    }

    async fn write(&self, job: impl FnOnce(&mut dyn Tx) -> Result<(), ControlError> + Send + 'static) {
        self.store.write(job).await.unwrap();
    }

    async fn save(&self, whose: i64, base: i64, document: &'static str) {
        self.write(move |tx| {
            revision::save(
                tx,
                &Save {
                    tenant: TenantId(whose),
                    base,
                    document,
                    actor: "ann",
                    reason: "",
                    at: T0,
                },
            )?;
            Ok(())
        })
        .await;
        self.settings.refresh().await.unwrap();
    }

    fn live(&self) -> Arc<Live> {
        self.settings.live().load_full()
    }
}

fn name(text: &str) -> Domain {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_change_rebuilds_its_tenant_alone() {
    let house = House::new().await;
    let before = house.live();
    house.settings.refresh().await.unwrap();
    assert!(Arc::ptr_eq(&before, &house.live()), "nothing changed, nothing is swapped");
    house.save(1, 1, r#"{"language":"en"}"#).await;
    let after = house.live();
    assert_eq!(
        (after.tenants[&TenantId(1)].revision, before.tenants[&TenantId(1)].revision),
        (2, 1)
    );
    assert!(Arc::ptr_eq(&before.tenants[&TenantId(2)], &after.tenants[&TenantId(2)]));
}

#[tokio::test]
async fn who_proved_a_name_answers_for_it() {
    let house = House::new().await;
    house
        .write(|tx| domain::claim(tx, TenantId(2), &name("a.example"), T0, DAY).map(drop))
        .await;
    house
        .write(|tx| domain::claim(tx, TenantId(1), &name("a.example"), T0, DAY).map(drop))
        .await;
    house
        .save(
            2,
            1,
            r#"{"domains":{"a.example":{"disabled":true}},"provider_domains":["acme.onmicrosoft.com"]}"#,
        )
        .await;
    let live = house.live();
    let (owner, found) = &live.domains["a.example"];
    assert_eq!((owner.id, found.state), (TenantId(1), DomainState::Unverified));
    assert_eq!(live.provider_domains["acme.onmicrosoft.com"].len(), 1);
    house
        .write(|tx| domain::verify(tx, TenantId(2), &name("a.example"), VerifiedBy::Txt, None, T0).map(drop))
        .await;
    house.settings.refresh().await.unwrap();
    let live = house.live();
    let (owner, found) = &live.domains["a.example"];
    assert_eq!((owner.id, found.state), (TenantId(2), DomainState::Disabled));
    assert!(live.tenants[&TenantId(1)].domains.is_empty());
    house
        .write(|tx| tenant::set_state(tx, TenantId(2), tenant::TenantState::Deleted, "", None))
        .await;
    house.settings.refresh().await.unwrap();
    assert!(house.live().domains.is_empty() && house.live().provider_domains.is_empty());
}

#[tokio::test]
async fn settings_that_cannot_be_read_leave_the_last_good_ones() {
    let house = House::new().await;
    house.save(1, 1, r#"{"language":"en"}"#).await;
    house.save(1, 2, r#"{"language":"en","from_the_future":1}"#).await;
    house
        .write(|tx| tenant::set_state(tx, TenantId(1), tenant::TenantState::OutboundSuspended, "", None))
        .await;
    house.settings.refresh().await.unwrap();
    let check = |live: &Live| {
        let tenant = &live.tenants[&TenantId(1)];
        assert_eq!((tenant.revision, tenant.settings.language), (2, config::document::Language::En));
        // The state is none of the settings: it holds at once.
        assert_eq!(tenant.state, TenantState::OutboundSuspended);
    };
    check(&house.live());
    // After a restart the last good ones come from the store.
    let (clock, _) = Clock::manual(T0);
    check(&Settings::load(house.store.clone(), clock).await.unwrap().live().load());
}

#[tokio::test]
async fn a_tenant_of_which_nothing_can_be_read_makes_mail_wait() {
    let house = House::new().await;
    house
        .write(|tx| domain::claim(tx, TenantId(1), &name("a.example"), T0, DAY).map(drop))
        .await;
    let broken = |tx: &mut dyn Tx| {
        tx.execute("UPDATE revision SET document = '1' WHERE tenant = 1", &[])?;
        Ok(live::bump(tx, TenantId(1))?)
    };
    house.write(broken).await;
    let (clock, _) = Clock::manual(T0);
    let live = Settings::load(house.store.clone(), clock).await.unwrap().live().load_full();
    assert_eq!(live.tenants[&TenantId(1)].state, TenantState::Suspended);
    assert!(live.domains.contains_key("a.example"));
    assert_eq!(live.tenants[&TenantId(2)].state, TenantState::Active);
}

#[tokio::test]
async fn stricter_figures_of_the_operator_hold_for_saved_settings() {
    let house = House::new().await;
    house
        .save(1, 1, r#"{"limits":{"rate_sender":{"messages":5000,"per_s":600}}}"#)
        .await;
    let figure = |live: &Live| live.tenants[&TenantId(1)].settings.limits.rate_sender.unwrap().messages;
    assert_eq!(figure(&house.live()), 5_000);
    house.save(0, 0, r#"{"limits":{"raise_factor_max":2}}"#).await;
    assert_eq!(figure(&house.live()), 1_000);
    house.save(0, 1, r#"{"limits":{"raise_factor_max":10}}"#).await;
    assert_eq!(figure(&house.live()), 5_000);
    assert_eq!(house.live().system_revision, 2);
}
