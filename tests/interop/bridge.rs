//! MQTT and WAMP clients with each other.
