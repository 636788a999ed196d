//! Jobs of a run on the nodes of a cluster.
//!
//! ```text
//! dispatcher                     shared store                                node
//!  remote.rs --order, batch-->   jobs/RUN/{batches/N.json, HASH/order.json}
//!  queue.rs  --sbatch, squeue--> ............ the scheduler ............>    node.rs: fallout job
//!  remote.rs <--events,consoles- HASH/{events-N.jsonl, cell/*.console}  <--  the same engine
//!  remote.rs <--result---------- HASH/result.json (last)                <--
//!    news.rs <--word------------ news/HASH: begun, or ended             <--
//!                                artifacts: images, builds by hash      <->  the node's own cache
//! ```
//!
//! - A job's directory is named by the hash of its name and key. A second run of a job finds what the
//!   first left: finished cases are not run again.
//! - A job is done when its result is there; the result is written last and whole.
//! - Each start of a job claims the next number with a file that only one can make. From then on
//!   those before it write nothing more: neither events nor a result.
//! - What is a fault of the node is no result: the job goes to another node.

mod files;
mod gc;
mod news;
mod node;
mod order;
mod progress;
mod queue;
mod remote;

pub use gc::{StoreGc, collect};
pub use node::{NodeEnd, do_job, job_of_batch};
pub use order::{JobOrder, Setting};
pub(super) use progress::Watch;
pub(super) use remote::{CellParts, Remote};

#[cfg(test)]
mod tests;
