//! The supervisor of the actors, and what must stop when this node may no longer write.
//!
//! ```text
//! Node ─┬─ Scanner                       one; what the last scan saw
//!       ├─ Uploader ── uploads (tasks)   one; the queue, and what is in flight
//!       ├─ Keeper                        one; catalogs, retention, verification
//!       ├─ Steward                       one; which shards are this node's
//!       └─ ShardOwner × its shards       what is known of each database
//! ```
//!
//! They know of each other, so they live and die together: when one fails, all are stopped and made
//! anew, knowing nothing, as after a start. What the bucket has already is then found by its footer, not
//! sent again. A panic in a capture or an upload stays with that database and does not get here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ractor::rpc::CallResult;
use ractor::{Actor, ActorProcessingErr, ActorRef, MessagingErr, RpcReplyPort, SupervisionEvent};
use tokio_util::sync::CancellationToken;

use crate::tree::{Plan, Tree};
use crate::{CycleError, StartError};

/// How long the supervisor may take to answer; making the actors anew included.
const ANSWER: Duration = Duration::from_mins(1);
/// So many restarts within [`RESTART_WINDOW`] are not cured by another.
const MOST_RESTARTS: usize = 5;
const RESTART_WINDOW: Duration = Duration::from_mins(1);

/// Why this node must stop, once it must.
#[derive(Debug, Clone, Default)]
pub(crate) struct Halt {
    reason: Arc<Mutex<Option<String>>>,
    signal: CancellationToken,
}

impl Halt {
    fn set(&self, why: String) {
        let mut reason = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        reason.get_or_insert(why);
        self.signal.cancel();
    }

    pub(crate) async fn wait(&self) -> String {
        self.signal.cancelled().await;
        let reason = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        reason.clone().unwrap_or_default()
    }
}

/// A handle to the supervisor.
#[derive(Debug, Clone)]
pub(crate) struct Node(ActorRef<Message>);

enum Message {
    Tree(RpcReplyPort<Arc<Tree>>),
}

impl Node {
    /// Starts the supervisor and all below it.
    pub(crate) async fn spawn(plan: Plan) -> Result<Self, StartError> {
        let spawned = Actor::spawn(None, NodeActor, plan).await;
        let (actor, _) = spawned.map_err(|error| StartError::Actors(error.to_string()))?;
        Ok(Self(actor))
    }

    /// The actors as they are now.
    pub(crate) async fn tree(&self) -> Result<Arc<Tree>, CycleError> {
        answer(self.0.call(Message::Tree, Some(ANSWER)).await, "the supervisor")
    }

    /// Stops all actors.
    pub(crate) async fn stop(&self) {
        // An actor that does not stop in time ends with the process.
        let _ = self.0.stop_and_wait(None, Some(ANSWER)).await;
    }
}

/// What became of a question to an actor.
pub(crate) fn answer<M, T>(
    called: Result<CallResult<T>, MessagingErr<M>>,
    who: &'static str,
) -> Result<T, CycleError> {
    match called {
        Ok(CallResult::Success(answer)) => Ok(answer),
        Ok(CallResult::Timeout) => Err(CycleError::NoAnswer { who, why: "in time" }),
        Ok(CallResult::SenderError) | Err(_) => Err(CycleError::NoAnswer { who, why: "any more" }),
    }
}

struct NodeActor;

struct State {
    plan: Plan,
    tree: Arc<Tree>,
    restarts: Vec<Duration>,
}

impl Actor for NodeActor {
    type Msg = Message;
    type State = State;
    type Arguments = Plan;

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        plan: Plan,
    ) -> Result<State, ActorProcessingErr> {
        let tree = Arc::new(plan.grow(myself.get_cell()).await?);
        Ok(State { plan, tree, restarts: Vec::new() })
    }

    async fn handle(
        &self,
        _: ActorRef<Message>,
        Message::Tree(reply): Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let _ = reply.send(Arc::clone(&state.tree));
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Message>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (child, why) = match event {
            SupervisionEvent::ActorFailed(child, why) => (child, why.to_string()),
            SupervisionEvent::ActorTerminated(child, _, why) => (child, why.unwrap_or_default()),
            _ => return Ok(()),
        };
        if !state.tree.has(child.get_id()) {
            return Ok(());
        }
        let now = state.plan.clock.monotonic();
        state.restarts.retain(|&at| now.saturating_sub(at) < RESTART_WINDOW);
        state.restarts.push(now);
        if state.restarts.len() > MOST_RESTARTS {
            state.plan.halt.set(format!(
                "its actors failed {MOST_RESTARTS} times within a minute, last: {why}"
            ));
            return Ok(());
        }
        tracing::error!(%why, "An actor failed; all begin anew");
        state.tree.abort();
        state.tree.kill();
        // Something may have been stored by now.
        (state.plan.is_new, state.plan.is_second_life) = (false, true);
        match state.plan.grow(myself.get_cell()).await {
            Ok(tree) => state.tree = Arc::new(tree),
            Err(error) => state.plan.halt.set(format!("its actors cannot be made anew: {error}")),
        }
        Ok(())
    }
}
