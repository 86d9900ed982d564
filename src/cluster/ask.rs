//! One question to a process, by whoever has the cluster's key, and its answer; then the connection is closed.
//!
//! ```text
//! asks                         answers
//! handshake (ASK)       <-->   no seat is taken, whatever the name
//! Question              -->
//!                       <--    Answer
//! ```
//!
//! Both are MessagePack with their length before them, bounded on both sides.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::config::{Cluster, Process, ProcessId};
use super::greet::{self, DEADLINE, NoLink, Wire};
use super::handshake::{Own, Purpose};
use super::mesh::{LinkStats, Shared, random};
use super::status::Status;
use super::tls::LinkTls;
use crate::queue::quorum::Members;

/// Whose name is asked with. No process can have it.
const NAME: &str = "(asks)";
const QUESTION_BYTES_MAX: usize = 64 << 10;
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// What may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// How it is.
    Status,
    /// Whether its sync backs this table of members, made from the one that position `behind` has set. What comes of it the status
    /// tells.
    Members { behind: u64, members: Members },
}

/// What comes of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    Status(Box<Status>),
    /// It was heard.
    Heard,
    /// Whoever answers has just been started, or does not know the question.
    None,
}

/// Answers for a process, whose links are so.
pub type Answers = Arc<dyn Fn(Question, &[LinkStats]) -> Answer + Send + Sync>;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoAnswer(String);

/// Asks a process, and waits as long as `patience`. `tls`: as its links have it.
///
/// # Errors
/// It cannot be reached, is another one, does not answer in time, or not what was asked.
pub async fn ask(
    cluster: &Arc<Cluster>,
    tls: Option<&LinkTls>,
    to: &Process,
    question: Question,
    patience: Duration,
) -> Result<Answer, NoAnswer> {
    let life = u128::from_le_bytes(random().map_err(|error| NoAnswer(error.to_string()))?);
    let own = Own { cluster: cluster.clone(), process: ProcessId::from(NAME), nodes: Vec::new(), life };
    let asked = async {
        let mut wire = greet::dial(&own, tls, to, Purpose::Ask).await?;
        greet::send(&mut wire, &encode(&question)).await?;
        greet::receive(&mut wire, ANSWER_BYTES_MAX).await
    };
    match tokio::time::timeout(patience, asked).await {
        Err(_) => Err(NoAnswer(format!("does not answer within {patience:?}"))),
        Ok(Err(error)) => Err(NoAnswer(error.to_string())),
        Ok(Ok(answer)) => crate::types::packed::from_slice(&answer)
            .map_err(|error| NoAnswer(format!("its answer cannot be read: {error}"))),
    }
}

/// Answers whoever has proved itself.
pub(super) async fn answer(mut wire: Wire, shared: &Shared) -> Result<(), NoLink> {
    let answered = async {
        let question = greet::receive(&mut wire, QUESTION_BYTES_MAX).await?;
        let known = crate::types::packed::from_slice::<Question>(&question).ok();
        let answer = known.zip(shared.answers.get());
        let answer = answer.map_or(Answer::None, |(question, answers)| answers(question, &shared.stats()));
        greet::send(&mut wire, &encode(&answer)).await?;
        // Whoever asks closes first: so nothing of the answer is lost.
        let _ = greet::receive(&mut wire, 0).await;
        Ok(())
    };
    tokio::time::timeout(DEADLINE, answered).await.unwrap_or(Err(NoLink::Late))
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    // Types of ours, without maps of other keys than texts: MessagePack has a form for each.
    rmp_serde::to_vec_named(value).unwrap_or_default()
}
