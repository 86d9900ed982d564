//! DISCONNECT and AUTH (MQTT 5, 3.14 and 3.15).

use super::ack::Diagnostics;
use super::error::{DecodeError, EncodeError};
use super::property::{Property, PropertyBlock, Set, id, set};
use super::reader::Reader;
use super::writer::Writer;
use super::{Level, PacketType, ReasonCode, Result, Role, reason};

const ALLOWED_IN_DISCONNECT: Set =
    set(&[id::SESSION_EXPIRY_INTERVAL, id::REASON_STRING, id::USER_PROPERTY, id::SERVER_REFERENCE]);

const ALLOWED_IN_AUTH: Set =
    set(&[id::AUTHENTICATION_METHOD, id::AUTHENTICATION_DATA, id::REASON_STRING, id::USER_PROPERTY]);

/// The last packet of a connection. Before level 5 only a client sends it, and it says nothing but itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Disconnect<'a> {
    pub reason: ReasonCode,
    /// A client's change of its session expiry interval; `None` = as in CONNECT.
    pub session_expiry_s: Option<u32>,
    /// Another server that a server names.
    pub server_reference: Option<&'a str>,
    pub diagnostics: Diagnostics<'a>,
}

/// A step of an extended authentication; only at level 5.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Auth<'a> {
    pub reason: ReasonCode,
    /// `None` only in the short form that says success and nothing else.
    pub method: Option<&'a str>,
    pub data: Option<&'a [u8]>,
    pub diagnostics: Diagnostics<'a>,
}

impl<'a> Disconnect<'a> {
    pub fn new(reason: ReasonCode) -> Self {
        Self { reason, session_expiry_s: None, server_reference: None, diagnostics: Diagnostics::default() }
    }

    pub(super) fn decode(mut body: Reader<'a>, level: Level, role: Role) -> Result<Self> {
        let mut disconnect = Self::new(ReasonCode::NORMAL_DISCONNECTION);
        if level < Level::V5 {
            body.finish()?;
            return Ok(disconnect);
        }
        if body.is_empty() {
            return Ok(disconnect);
        }
        disconnect.reason = ReasonCode::from_u8(body.u8()?)
            .filter(|reason| reason::allowed_in_disconnect(*reason, role == Role::Client))
            .ok_or(DecodeError::DISCONNECT_REASON)?;
        if !body.is_empty() {
            disconnect.decode_properties(&mut body, level, role)?;
            body.finish()?;
        }
        Ok(disconnect)
    }

    fn decode_properties(&mut self, body: &mut Reader<'a>, level: Level, role: Role) -> Result<()> {
        let mut block = PropertyBlock::open(body, level, ALLOWED_IN_DISCONNECT)?;
        while let Some(property) = block.next()? {
            match property {
                Property::SessionExpiryInterval(s) => self.session_expiry_s = Some(s),
                Property::ServerReference(text) => self.server_reference = Some(text),
                other => self.diagnostics.set(other),
            }
        }
        self.diagnostics.user_properties = block.user_properties();
        match role {
            Role::Client if self.session_expiry_s.is_some() => Err(DecodeError::SESSION_EXPIRY_FROM_SERVER),
            Role::Server if self.server_reference.is_some() => Err(DecodeError::SERVER_REFERENCE_FROM_CLIENT),
            _ => Ok(()),
        }
    }

    /// Appends the packet. Before level 5 the reason is lost.
    ///
    /// # Errors
    /// A string contains U+0000 or is too long.
    pub fn encode(&self, level: Level, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let mut writer = Writer::new(out, PacketType::Disconnect.first_byte(), level);
        writer.reason_and_properties(self.reason, |writer| {
            writer.u32_property(id::SESSION_EXPIRY_INTERVAL, self.session_expiry_s);
            writer.string_property(id::SERVER_REFERENCE, self.server_reference);
            self.diagnostics.write(writer);
        });
        writer.finish(0)?;
        Ok(())
    }

    /// As [`Disconnect::encode`], without diagnostics if the packet would else be larger than `max` bytes
    /// [MQTT-3.14.2-3].
    ///
    /// # Errors
    /// As [`Disconnect::encode`].
    pub fn encode_within(&self, max: usize, level: Level, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        super::encode_within(max, out, |out, explain| {
            let diagnostics = if explain { self.diagnostics } else { Diagnostics::default() };
            Self { diagnostics, ..*self }.encode(level, out)
        })
    }
}

impl<'a> Auth<'a> {
    pub fn new(reason: ReasonCode, method: &'a str, data: Option<&'a [u8]>) -> Self {
        Self { reason, method: Some(method), data, diagnostics: Diagnostics::default() }
    }

    pub(super) fn decode(mut body: Reader<'a>, level: Level, role: Role) -> Result<Self> {
        let short = body.is_empty();
        let reason = if short { ReasonCode::Success as u8 } else { body.u8()? };
        let reason = ReasonCode::from_u8(reason)
            .filter(|reason| reason::allowed_in_auth(*reason, role == Role::Client))
            .ok_or(DecodeError::AUTH_REASON)?;
        let mut auth = Self { reason, method: None, data: None, diagnostics: Diagnostics::default() };
        if short {
            return Ok(auth);
        }
        let mut block = PropertyBlock::open(&mut body, level, ALLOWED_IN_AUTH)?;
        while let Some(property) = block.next()? {
            match property {
                Property::AuthenticationMethod(method) => auth.method = Some(method),
                Property::AuthenticationData(data) => auth.data = Some(data),
                other => auth.diagnostics.set(other),
            }
        }
        auth.diagnostics.user_properties = block.user_properties();
        body.finish()?;
        if auth.method.is_none() { Err(DecodeError::AUTH_WITHOUT_METHOD) } else { Ok(auth) }
    }

    /// Appends the packet.
    ///
    /// # Errors
    /// A field is too long, a string contains U+0000, or the level is not 5.
    pub fn encode(&self, level: Level, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if level < Level::V5 {
            return Err(EncodeError::NotAtThisLevel);
        }
        let mut writer = Writer::new(out, PacketType::Auth.first_byte(), level);
        writer.reason_and_properties(self.reason, |writer| {
            writer.string_property(id::AUTHENTICATION_METHOD, self.method);
            writer.binary_property(id::AUTHENTICATION_DATA, self.data);
            self.diagnostics.write(writer);
        });
        writer.finish(0)?;
        Ok(())
    }
}
