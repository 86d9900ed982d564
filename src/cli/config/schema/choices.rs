//! Keys that are one of some words.

use super::LogFormat;
use crate::cli::config::setting::choices;
use crate::http::AddressHeader;
use crate::http::hooks::Proof;
use crate::mqtt::codec::Level;
use crate::net::tls::ClientAuth;
use crate::node::users::Method;
use crate::outbound::bridge::rules::Direction;
use crate::router::authorize::Action;
use crate::router::rules::Disclosure;
use crate::store::SyncMode;
use crate::types::limits::{OutboxFull, RateExceeded};
use crate::types::payload::Codec;
use crate::types::topic::MatchPolicy;

choices!(LogFormat { "human" => LogFormat::Human, "json" => LogFormat::Json, });
choices!(RateExceeded { "pause" => RateExceeded::Pause, "disconnect" => RateExceeded::Disconnect, });
choices!(OutboxFull { "drop" => OutboxFull::Drop, "disconnect" => OutboxFull::Disconnect, });
choices!(SyncMode { "always" => SyncMode::Always, "interval" => SyncMode::Interval, "never" => SyncMode::Never, });
choices!(Codec {
    "auto" => Codec::Auto,
    "raw" => Codec::Raw,
    "json" => Codec::Json,
    "cbor" => Codec::Cbor,
    "msgpack" => Codec::MsgPack,
});
choices!(Action {
    "publish" => Action::Publish,
    "subscribe" => Action::Subscribe,
    "call" => Action::Call,
    "register" => Action::Register,
});
choices!(Proof { "standard" => Proof::Standard, "github" => Proof::Github, "bearer" => Proof::Bearer, });
choices!(Method {
    "password" => Method::Password,
    "wampcra" => Method::WampCra,
    "scram" => Method::Scram,
    "cryptosign" => Method::Cryptosign,
    "tls" => Method::Tls,
});
choices!(Level { "3.1.1" => Level::V4, "5" => Level::V5, });
choices!(Direction { "in" => Direction::In, "out" => Direction::Out, "both" => Direction::Both, });
choices!(Disclosure {
    "allowed" => Disclosure::Allowed,
    "caller" => Disclosure::Caller,
    "forced" => Disclosure::Forced,
    "strip" => Disclosure::Strip,
    "denied" => Disclosure::Denied,
});
choices!(ClientAuth {
    "none" => ClientAuth::None,
    "optional" => ClientAuth::Optional,
    "required" => ClientAuth::Required,
});
choices!(AddressHeader {
    "x-forwarded-for" => AddressHeader::XForwardedFor,
    "forwarded" => AddressHeader::Forwarded,
    "x-real-ip" => AddressHeader::XRealIp,
});
choices!(MatchPolicy {
    "exact" => MatchPolicy::Exact,
    "prefix" => MatchPolicy::Prefix,
    "wildcard" => MatchPolicy::Wildcard,
    "fox" => MatchPolicy::Fox,
});
