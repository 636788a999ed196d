//! The application in one process: no socket, real index, queue and run directories.

mod api;
mod events;
mod guards;
mod schema;
mod site;
mod walk;
