//! A dynamic value, as JSON, MessagePack and CBOR all can say it.

/// A decoded value. Maps keep the order in which their keys came.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    /// A negative or small integer.
    Int(i64),
    /// An integer above `i64::MAX`; smaller ones are always [`Value::Int`].
    Uint(u64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Value>),
    Map(Vec<(String, Value)>),
}
