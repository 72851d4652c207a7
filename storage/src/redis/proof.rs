//! A right that is missing shows in the middle of a script, which is too late. So every script is run
//! once, at the start, on keys that no gateway works on.

use fred::clients::{Client, SubscriberClient};
use fred::interfaces::PubsubInterface;
use sluice_engine::store::{
    AccountDef, Define, Discipline, Enter, HealthChange, HealthRules, HeldLease, Instance, Limit,
    Mark, PROTOCOL, PoolDef, REAP_MAX, Resync, Scope, SessionChange, StoreOp, StoreReply, Version,
    Want,
};
use sluice_engine::{
    AccountId, Ask, Attempt, GateId, LeaseId, ModelId, NodeId, PoolId, RequestId, SessionKey, Span,
    Tag, UserId,
};

use super::connect::ConnectError;
use super::scripts::Script;
use super::{Space, decode, encode};

/// Runs every script, listens and publishes.
pub(super) async fn prove(
    client: &Client,
    subscriber: &SubscriberClient,
    space: &Space,
) -> Result<(), ConnectError> {
    let proof = Space { name: format!("{}:proof", space.name), ..space.clone() };
    let node = join(client, &proof, None).await?;
    let node = join(client, &proof, Some(node)).await?;
    let channel = proof.channel(node);
    let listened = subscriber.subscribe(channel.as_str()).await;
    listened.map_err(|error| ConnectError::instead_of("to listen to grants", &error))?;
    let told = client.publish::<(), _, _>(channel.as_str(), "").await;
    told.map_err(|error| ConnectError::instead_of("to publish grants", &error))?;
    let unheard = subscriber.unsubscribe(channel.as_str()).await;
    unheard.map_err(|error| ConnectError::instead_of("to listen no more", &error))?;
    for op in operations(node) {
        run(client, &proof, &op).await?;
    }
    for script in [Script::View, Script::Nodes] {
        let seen = proof.run(client, script, Vec::new()).await;
        seen.map_err(|failed| {
            ConnectError::instead_of("who holds and waits to be seen", &failed.0)
        })?;
    }
    Ok(())
}

async fn run(client: &Client, proof: &Space, op: &StoreOp) -> Result<StoreReply, ConnectError> {
    let (script, args) = encode::encode(op);
    let answer = proof.run(client, script, args).await;
    let answer = answer
        .map_err(|failed| ConnectError::instead_of(&format!("the script {script:?}"), &failed.0))?;
    decode::decode(&answer).map_err(|error| ConnectError::Unreachable(error.to_string()))
}

/// Succeeds whoever proved before. Several who begin at once take the node from each other, which
/// leaves some operations of some of them undone; whoever comes last has run them all.
async fn join(
    client: &Client,
    proof: &Space,
    mut replaces: Option<NodeId>,
) -> Result<NodeId, ConnectError> {
    loop {
        let instance = Instance("proof".into());
        let op = StoreOp::Join { instance, replaces, resume: false, protocol: PROTOCOL };
        let reply = run(client, proof, &op).await?;
        if let StoreReply::Joined { node, .. } = reply {
            return Ok(node);
        }
        let StoreReply::Taken { node } = reply else {
            return Err(ConnectError::Unreachable(format!("who joins is told {reply:?}")));
        };
        replaces = Some(node);
    }
}

/// Every operation, on an account of one slot: it is held, waited for, handed on, closed.
fn operations(node: NodeId) -> Vec<StoreOp> {
    let (account, pool, model) = (AccountId(1), PoolId(1), ModelId(1));
    let lease =
        |request, attempt| LeaseId { node, request: RequestId(request), attempt: Attempt(attempt) };
    let second = Some(Span::from_secs(1));
    let enter = |lease, want| {
        let ask = Ask(1);
        StoreOp::Enter(Enter { lease, ask, want, tag: None, patience: second, ttl: second })
    };
    let version = Version { stamp: node.0, digest: 0 };
    let user = Want::User { user: UserId(1), limit: Limit::Slots(1), version, line_max: 1 };
    let best = [account].into_iter().collect();
    let any = Want::Pool { pool, model, best, excluded: Vec::new(), line_max: Some(2) };
    let leave = |lease, mark| StoreOp::Leave { lease, mark: Some(mark), fence: true };
    let session = |change| StoreOp::Session { key: SessionKey([0; 16]), change, if_home: None };
    let health = |change| StoreOp::Health { account, model: None, change };
    let held = HeldLease {
        lease: lease(2, 1),
        gate: GateId::Account(account),
        limit: None,
        model,
        tag: Tag(1),
        ttl: None,
    };
    vec![
        StoreOp::Define(Define {
            version,
            discipline: Discipline::Settle,
            health: HealthRules::default(),
            accounts: vec![AccountDef {
                account,
                limit: Limit::Slots(1),
                priority: 0,
                oauth: false,
            }],
            pools: vec![PoolDef { pool, prefer_oauth: false, members: vec![account] }],
        }),
        StoreOp::Survey {
            pool,
            model,
            session: Some(SessionKey([0; 16])),
            excluded: vec![],
            best: 1,
        },
        enter(lease(1, 0), user.clone()),
        enter(lease(2, 0), user),
        enter(lease(1, 1), any.clone()),
        enter(lease(2, 1), any.clone()),
        enter(lease(3, 1), any),
        session(SessionChange::Bind(account, Span::from_ms(1))),
        session(SessionChange::Drop),
        leave(lease(1, 1), Mark::Failed(Scope::Model)),
        leave(lease(1, 0), Mark::Ok),
        health(HealthChange::Drain),
        health(HealthChange::Recover),
        StoreOp::Resync(Resync {
            node,
            ask: Ask(2),
            as_of: Ask(1),
            busy: vec![lease(3, 1)],
            held: vec![held],
            waiting: Vec::new(),
            last: true,
        }),
        leave(lease(2, 1), Mark::Quarantine),
        StoreOp::Beat { node, settled: 0, in_flight: 0 },
        StoreOp::Reap { max: REAP_MAX },
    ]
}
