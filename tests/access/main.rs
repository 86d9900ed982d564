//! Who may do what: the built broker with users, roles and permissions, asked over every protocol, while its file of users changes,
//! and with what was imported from Mosquitto.

mod asking;
mod broker;
mod import;
mod table;
mod users;
