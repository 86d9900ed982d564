//! `POST /publish`.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use hyper::StatusCode;

use super::answer::{self, Answer, Failure};
use super::fields::{Field, fields};
use super::route::Guest;
use super::write::Object;
use super::{Server, sse};
use crate::node::Node;
use crate::node::link::Link;
use crate::node::metrics::Protocol;
use crate::node::publish::{Fate, Publication, Publisher, Settled};
use crate::queue::condition::{Condition, When};
use crate::queue::outcome::Void;
use crate::router::authorize::Action;
use crate::types::event::{Discloser, Filter, Properties};
use crate::types::payload::{Format, PayloadRef};
use crate::types::topic::{Topic, TopicError, TopicPattern};

const KNOWN: &str = "realm, topic or mqtt_topic, args and kwargs or payload or payload_base64, retain, when, disclose_me, exclude, \
                     exclude_authid, exclude_authrole, eligible, eligible_authid, eligible_authrole, \
                     message_expiry_interval, content_type, response_topic, correlation_data, user_properties, \
                     payload_format_indicator";

/// What is to be published. The options have the names and meanings of WAMP's.
#[derive(Default)]
pub struct Request<'a> {
    pub realm: Option<String>,
    topic: Option<Topic>,
    args: Option<&'a [u8]>,
    kwargs: Option<&'a [u8]>,
    payload: Option<Bytes>,
    retain: bool,
    when: Option<When>,
    disclose_me: bool,
    filter: Option<Filter>,
    expires_in_s: Option<u32>,
    properties: Option<Properties>,
}

impl<'a> Request<'a> {
    /// # Errors
    /// A field is unknown, of another type, or excludes another one.
    pub fn read(body: &'a [u8]) -> Result<Self, Failure> {
        let mut request = Self::default();
        for field in fields(body, &["when"])? {
            request.set(&field)?;
        }
        if request.payload.is_some() && (request.args.is_some() || request.kwargs.is_some()) {
            return Err(Failure::Invalid("a payload and arguments exclude each other".to_owned()));
        }
        Ok(request)
    }

    fn set(&mut self, field: &Field<'a>) -> Result<(), Failure> {
        match &*field.name {
            "realm" => self.realm = Some(field.text()?),
            "topic" => self.set_topic("topic", Topic::from_uri(&field.text()?))?,
            "mqtt_topic" => self.set_topic("mqtt_topic", Topic::from_name(&field.text()?))?,
            "args" => self.args = Some(field.list()?),
            "kwargs" => self.kwargs = Some(field.object()?),
            "payload" => self.set_payload(payload(field))?,
            "payload_base64" => self.set_payload(decode(field)?)?,
            "retain" => self.retain = field.bool()?,
            "when" => self.when = Some(field.when()?),
            "disclose_me" => self.disclose_me = field.bool()?,
            "exclude" => self.filter().exclude = field.sessions()?,
            "exclude_authid" => self.filter().exclude_authid = field.texts()?,
            "exclude_authrole" => self.filter().exclude_authrole = field.texts()?,
            "eligible" => self.filter().eligible = Some(field.sessions()?),
            "eligible_authid" => self.filter().eligible_authid = Some(field.texts()?),
            "eligible_authrole" => self.filter().eligible_authrole = Some(field.texts()?),
            "message_expiry_interval" => {
                let seconds = u32::try_from(field.uint()?);
                self.expires_in_s =
                    Some(seconds.map_err(|_| {
                        Failure::Invalid("message_expiry_interval must be below 2^32 seconds".to_owned())
                    })?);
            }
            _ => return self.set_property(field),
        }
        Ok(())
    }

    fn set_property(&mut self, field: &Field<'a>) -> Result<(), Failure> {
        let properties = self.properties.get_or_insert_default();
        match &*field.name {
            "content_type" => properties.content_type = Some(field.text()?),
            "response_topic" => {
                let topic = Topic::from_uri(&field.text()?);
                let topic = topic.map_err(|error| Failure::InvalidTopic { field: "response_topic", error })?;
                properties.response_topic = Some(topic.name().to_owned());
            }
            "correlation_data" => properties.correlation_data = Some(field.text_or_binary()?),
            "user_properties" => properties.user_properties = field.pairs()?,
            "payload_format_indicator" => properties.payload_is_text = Some(field.one_or_zero()?),
            _ => return field.unknown(KNOWN),
        }
        Ok(())
    }

    fn set_topic(&mut self, field: &'static str, topic: Result<Topic, TopicError>) -> Result<(), Failure> {
        let topic = topic.map_err(|error| Failure::InvalidTopic { field, error })?;
        match self.topic.replace(topic) {
            None => Ok(()),
            Some(_) => Err(Failure::Invalid("topic and mqtt_topic exclude each other".to_owned())),
        }
    }

    fn set_payload(&mut self, payload: Bytes) -> Result<(), Failure> {
        match self.payload.replace(payload) {
            None => Ok(()),
            Some(_) => Err(Failure::Invalid("payload and payload_base64 exclude each other".to_owned())),
        }
    }

    fn topic(&self) -> Result<&Topic, Failure> {
        self.topic.as_ref().ok_or_else(|| Failure::Invalid("topic is missing".to_owned()))
    }

    fn filter(&mut self) -> &mut Filter {
        self.filter.get_or_insert_default()
    }

    fn payload(&self) -> PayloadRef<'_> {
        match &self.payload {
            Some(bytes) => PayloadRef::Bytes(bytes),
            None if self.args.is_none() && self.kwargs.is_none() => PayloadRef::NONE,
            None => PayloadRef::Args { format: Format::Json, args: self.args, kwargs: self.kwargs },
        }
    }
}

/// A string is its text; anything else the JSON that it is.
fn payload(field: &Field<'_>) -> Bytes {
    field.text_or_binary().unwrap_or_else(|_| Bytes::copy_from_slice(field.value.bytes()))
}

fn decode(field: &Field<'_>) -> Result<Bytes, Failure> {
    let bytes = BASE64.decode(field.text()?);
    bytes.map(Bytes::from).map_err(|error| Failure::Invalid(format!("payload_base64 is not base64: {error}")))
}

impl Server {
    /// Publishes, and answers with the publication's id; if the event is durable, when it is in the log.
    ///
    /// # Errors
    /// There is no topic, the guest may not publish to it, a retained value has no room, the condition does not hold, or the store
    /// cannot write.
    pub(super) async fn publish(&self, guest: &Guest, request: Request<'_>, body: &Bytes) -> Result<Answer, Failure> {
        self.decide(guest, &[(Action::Publish, TopicPattern::exact(request.topic()?))]).await;
        let (node, realm) = (self.node.clone(), guest.realm.clone());
        let link = Arc::new(Link::default());
        let mut publisher = Publisher::new(node, realm, None, Some(guest.rights.clone()), Protocol::Http);
        publisher.listen(link.clone());
        if !guest.realm.rules.is_empty() || guest.rights.asks().is_some() {
            publisher.introduce(Arc::new(self.disclose(guest)));
        }
        publisher.now_ms = self.clock.now_ms();
        let settled = match self.hand_over(&mut publisher, guest, &request, body)? {
            Fate::Routed(published) => Settled::Routed(published),
            Fate::Pending => settled(&mut publisher, &link).await,
        };
        let (publication, number) = match settled {
            Settled::Routed(published) => (published.publication, None),
            Settled::Event { number } => (self.node.log.publication_of(number), Some(number)),
            Settled::Void(Void::ConditionFailed) => return Err(Failure::ConditionFailed),
            Settled::Refused(why) => return Err(why.into()),
            // What has no session neither waits nor holds anything.
            _ => return Err(Failure::StoreUnavailable("the publication was not taken".to_owned())),
        };
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        object.uint("publication", publication.0);
        if let Some(id) = number.and_then(|number| self.node.log.event_id_of(number)) {
            object.text("event_id", id.text().as_str());
        }
        object.end();
        Ok(answer::json(StatusCode::OK, out))
    }

    fn hand_over(
        &self,
        publisher: &mut Publisher,
        guest: &Guest,
        request: &Request<'_>,
        body: &Bytes,
    ) -> Result<Fate, Failure> {
        let topic = request.topic()?;
        let properties = request.properties.clone().map(Arc::new);
        let discloser = request.disclose_me.then(|| Arc::new(self.disclose(guest)));
        let condition = request.when.clone().map(|when| Condition { when: Some(when), ..Condition::default() });
        let publication = Publication {
            payload: request.payload(),
            qos: Node::UNSAID_QOS,
            retain: request.retain,
            properties: properties.as_ref(),
            publisher: discloser.as_ref(),
            expires_in_s: request.expires_in_s,
            exclude_publisher: false,
            filter: request.filter.as_ref(),
            condition: condition.as_ref(),
            packet: None,
            backing: Some(request.payload.as_ref().unwrap_or(body)),
        };
        let target = publisher.look_up(topic.as_bytes(), |_| Ok::<_, Failure>(topic.clone()))?;
        let published = publisher.publish(target, &publication);
        publisher.finish();
        Ok(published?)
    }

    /// Who publishes, for those who are to be told. The session is one that ends with the request.
    fn disclose(&self, guest: &Guest) -> Discloser {
        let identity = guest.identity.clone();
        Discloser {
            authid: Some(identity.authid.clone()),
            authrole: Some(identity.authrole.clone()),
            session: self.node.new_session(identity, sse::wire(), false).id,
        }
    }
}

/// What becomes of the one publication of a publisher.
async fn settled(publisher: &mut Publisher, link: &Arc<Link>) -> Settled {
    poll_fn(|cx| {
        link.waker.register(cx.waker());
        let mut found = None;
        publisher.hear(|settled| found = Some(settled));
        found.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}
