//! What differs between families of systems, behind one trait.
//!
//! A family says how its guests tell that they are up, what is done then, and how one asks a guest
//! that has fallen silent what it is about. The life of a guest is the same for all of them and
//! stands in [`super::machine`].

use std::time::SystemTime;

use super::dialogue::Debugger;
use super::health::Health;
use super::linux::Linux;
use super::netbsd::NetBsd;
use crate::model::KernelFound;

/// Random bytes of the host's for a guest that was restored: no other guest gets the same.
pub type Seed = [u8; 64];

/// How requests reach the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// The agent's protocol, version 1, over a virtio-serial port.
    AgentPort,
    /// The same over a serial line; archives and files by the exchange disk.
    AgentLine,
}

/// A way to reach the keys of a kernel on its console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// A serial break comes first.
    pub serial_break: bool,
    /// What is typed before the key.
    pub before: &'static str,
    /// What is typed behind it.
    pub after: &'static str,
}

/// Keys that make a kernel describe itself.
#[derive(Debug, Clone, Copy)]
pub struct Keys {
    /// The ways to reach them; the first that is answered is kept to.
    pub ways: &'static [Way],
    /// Pressed first: it makes the kernel talk to the console.
    pub louder: &'static str,
    /// What the kernel's answer to a key contains.
    pub answers: &'static str,
    /// What its answer to a key that it does not have contains.
    pub unknown: &'static str,
    /// The name of each section, and its key.
    pub questions: &'static [(&'static str, &'static str)],
}

/// One family of systems.
pub trait Family: Send + Sync {
    /// Its name in a port's manifest.
    fn name(&self) -> &'static str;

    /// How requests reach its guests.
    fn transport(&self) -> Transport;

    /// What a boot waits for, for people: "the agent's greeting".
    fn waits_for(&self) -> &'static str;

    /// The command that makes a guest which just came up usable (its clock is set), and then says
    /// which kernel runs. With a `seed` the guest was restored from a snapshot: its random numbers
    /// are made its own, and a status other than zero means that they are not.
    fn on_ready(&self, now: SystemTime, seed: Option<&Seed>) -> String;

    /// Reads what that command printed.
    fn kernel(&self, said: &[u8]) -> KernelFound;

    /// The command that prints what [`Health`](super::health::Health) reads. It runs between batches
    /// of cases, so it must be cheap: a shell's own means, few processes.
    fn health(&self) -> &'static str;

    /// Reads what that command printed, where it is not one fact a line.
    fn read_health(&self, said: &[u8]) -> Health {
        Health::parse(said)
    }

    /// What a shell is told so that the programs it starts find new memory filled with this byte.
    fn memory(&self, byte: u8) -> String;

    /// The account for cases that want to be unprivileged.
    fn user(&self) -> &'static str;

    /// The command that turns the machine off.
    fn power_off(&self) -> &'static str;

    /// What makes a silent kernel describe itself on the console.
    fn keys(&self) -> Option<&'static Keys>;

    /// The debugger in which a dead kernel of this family stops.
    fn debugger(&self) -> Option<&'static Debugger>;
}

/// The families that there are.
const ALL: [&dyn Family; 2] = [&Linux, &NetBsd];

/// The family of this name; `None` for a name that no code stands behind.
pub fn family(name: &str) -> Option<&'static dyn Family> {
    ALL.into_iter().find(|family| family.name() == name)
}

/// The names of the families that there are.
pub fn names() -> Vec<&'static str> {
    ALL.into_iter().map(Family::name).collect()
}
