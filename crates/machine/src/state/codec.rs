//! The bytes of a snapshot: what is written is what is read, field after field, numbers as LEB128. A name is written as
//! its place (`symbols.rs`), so that the bytes depend on the records alone and not on the numbers that names happen to
//! have, and a part of them (a run) can be written and read alone.

use super::symbols::Sym;
use crate::error::RestoreError;
use crate::event::wire::put_varint;
use crate::id::RunId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Where bytes go.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    pub(crate) out: Vec<u8>,
    places: &'a [u32],
}

impl<'a> Writer<'a> {
    pub(crate) fn new(places: &'a [u32], out: Vec<u8>) -> Writer<'a> {
        Writer { out, places }
    }
}

/// Where bytes come from.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) names: &'a [Sym],
}

pub(crate) type Read<T> = Result<T, RestoreError>;

impl<'a> Source<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Read<&'a [u8]> {
        let (head, rest) = self.bytes.split_at_checked(count).ok_or(RestoreError("it is cut short"))?;
        self.bytes = rest;
        Ok(head)
    }

    /// A number of things, each of at least one byte: more than there are bytes is damage.
    pub(crate) fn count(&mut self) -> Read<usize> {
        let count = u32::get(self)? as usize;
        if count > self.bytes.len() { Err(RestoreError("a count is too large")) } else { Ok(count) }
    }
}

/// Something that a snapshot holds.
pub(crate) trait Codec: Sized {
    fn put(&self, w: &mut Writer<'_>);
    fn get(r: &mut Source<'_>) -> Read<Self>;
}

impl Codec for u8 {
    fn put(&self, w: &mut Writer<'_>) {
        w.out.push(*self);
    }
    fn get(r: &mut Source<'_>) -> Read<u8> {
        let (&byte, rest) = r.bytes.split_first().ok_or(RestoreError("it is cut short"))?;
        r.bytes = rest;
        Ok(byte)
    }
}

impl Codec for u64 {
    fn put(&self, w: &mut Writer<'_>) {
        put_varint(*self, &mut w.out);
    }
    fn get(r: &mut Source<'_>) -> Read<u64> {
        let mut value = 0;
        for n in 0..10 {
            let byte = u8::get(r)?;
            value |= u64::from(byte & 0x7f) << (7 * n);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(RestoreError("a number is too large"))
    }
}

macro_rules! numbers {
    ($($type:ty)*) => {$(
        impl Codec for $type {
            fn put(&self, w: &mut Writer<'_>) {
                (*self as u64).put(w);
            }
            fn get(r: &mut Source<'_>) -> Read<$type> {
                <$type>::try_from(u64::get(r)?).map_err(|_| RestoreError("a number is too large"))
            }
        }
    )*};
}
numbers!(u16 u32 usize);

/// Times, most of them: as its bits, so a negative one is long.
impl Codec for i64 {
    fn put(&self, w: &mut Writer<'_>) {
        (*self as u64).put(w);
    }
    fn get(r: &mut Source<'_>) -> Read<i64> {
        u64::get(r).map(|bits| bits as i64)
    }
}

impl Codec for bool {
    fn put(&self, w: &mut Writer<'_>) {
        w.out.push(u8::from(*self));
    }
    fn get(r: &mut Source<'_>) -> Read<bool> {
        Ok(u8::get(r)? != 0)
    }
}

impl Codec for [u8; 32] {
    fn put(&self, w: &mut Writer<'_>) {
        w.out.extend_from_slice(self);
    }
    fn get(r: &mut Source<'_>) -> Read<[u8; 32]> {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(r.take(32)?);
        Ok(bytes)
    }
}

impl Codec for RunId {
    fn put(&self, w: &mut Writer<'_>) {
        w.out.extend_from_slice(&self.0);
    }
    fn get(r: &mut Source<'_>) -> Read<RunId> {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(r.take(16)?);
        Ok(RunId(bytes))
    }
}

/// Writes bytes behind their length.
pub(crate) fn put_bytes(bytes: &[u8], w: &mut Writer<'_>) {
    (bytes.len() as u32).put(w);
    w.out.extend_from_slice(bytes);
}

impl Codec for Box<str> {
    fn put(&self, w: &mut Writer<'_>) {
        put_bytes(self.as_bytes(), w);
    }
    fn get(r: &mut Source<'_>) -> Read<Box<str>> {
        let count = r.count()?;
        std::str::from_utf8(r.take(count)?).map(Into::into).map_err(|_| RestoreError("a text is not UTF-8"))
    }
}

impl Codec for Arc<str> {
    fn put(&self, w: &mut Writer) {
        (self.len() as u32).put(w);
        w.out.extend_from_slice(self.as_bytes());
    }
    fn get(r: &mut Source<'_>) -> Read<Arc<str>> {
        Box::<str>::get(r).map(Into::into)
    }
}

impl Codec for Arc<[u8]> {
    fn put(&self, w: &mut Writer<'_>) {
        put_bytes(self, w);
    }
    fn get(r: &mut Source<'_>) -> Read<Arc<[u8]>> {
        let count = r.count()?;
        Ok(r.take(count)?.into())
    }
}

impl Codec for Sym {
    fn put(&self, w: &mut Writer<'_>) {
        w.places[self.0 as usize].put(w);
    }
    fn get(r: &mut Source<'_>) -> Read<Sym> {
        let number = u32::get(r)? as usize;
        r.names.get(number).copied().ok_or(RestoreError("a name is not in the table"))
    }
}

impl<T: Codec> Codec for Option<T> {
    fn put(&self, w: &mut Writer<'_>) {
        self.is_some().put(w);
        if let Some(value) = self {
            value.put(w);
        }
    }
    fn get(r: &mut Source<'_>) -> Read<Option<T>> {
        if bool::get(r)? { T::get(r).map(Some) } else { Ok(None) }
    }
}

impl<T: Codec> Codec for Box<T> {
    fn put(&self, w: &mut Writer<'_>) {
        (**self).put(w);
    }
    fn get(r: &mut Source<'_>) -> Read<Box<T>> {
        T::get(r).map(Box::new)
    }
}

impl<T: Codec> Codec for Vec<T> {
    fn put(&self, w: &mut Writer<'_>) {
        (self.len() as u32).put(w);
        for value in self {
            value.put(w);
        }
    }
    fn get(r: &mut Source<'_>) -> Read<Vec<T>> {
        let count = r.count()?;
        (0..count).map(|_| T::get(r)).collect()
    }
}

impl<T: Codec> Codec for VecDeque<T> {
    fn put(&self, w: &mut Writer) {
        (self.len() as u32).put(w);
        for value in self {
            value.put(w);
        }
    }
    fn get(r: &mut Source<'_>) -> Read<VecDeque<T>> {
        let count = r.count()?;
        (0..count).map(|_| T::get(r)).collect()
    }
}

impl<K: Codec + Ord, V: Codec> Codec for BTreeMap<K, V> {
    fn put(&self, w: &mut Writer<'_>) {
        (self.len() as u32).put(w);
        for (key, value) in self {
            key.put(w);
            value.put(w);
        }
    }
    fn get(r: &mut Source<'_>) -> Read<BTreeMap<K, V>> {
        let count = r.count()?;
        (0..count).map(|_| Ok((K::get(r)?, V::get(r)?))).collect()
    }
}

impl<T: Codec + Ord> Codec for BTreeSet<T> {
    fn put(&self, w: &mut Writer<'_>) {
        (self.len() as u32).put(w);
        for value in self {
            value.put(w);
        }
    }
    fn get(r: &mut Source<'_>) -> Read<BTreeSet<T>> {
        let count = r.count()?;
        (0..count).map(|_| T::get(r)).collect()
    }
}

impl<A: Codec, B: Codec> Codec for (A, B) {
    fn put(&self, w: &mut Writer<'_>) {
        self.0.put(w);
        self.1.put(w);
    }
    fn get(r: &mut Source<'_>) -> Read<(A, B)> {
        Ok((A::get(r)?, B::get(r)?))
    }
}

/// Writes the named fields in order; the others are caches and start empty.
macro_rules! codec {
    ($type:ident { $($field:ident),* $(,)? } $(with { $($cache:ident: $value:expr),* $(,)? })?) => {
        impl $crate::state::codec::Codec for $type {
            fn put(&self, w: &mut $crate::state::codec::Writer<'_>) {
                $($crate::state::codec::Codec::put(&self.$field, w);)*
            }
            fn get(r: &mut $crate::state::codec::Source<'_>) -> Result<$type, $crate::error::RestoreError> {
                Ok($type {
                    $($field: $crate::state::codec::Codec::get(r)?,)*
                    $($($cache: $value,)*)?
                })
            }
        }
    };
    ($type:ident as $($variant:ident = $number:literal),* $(,)?) => {
        impl $crate::state::codec::Codec for $type {
            fn put(&self, w: &mut $crate::state::codec::Writer<'_>) {
                w.out.push(match self {
                    $($type::$variant => $number,)*
                });
            }
            fn get(r: &mut $crate::state::codec::Source<'_>) -> Result<$type, $crate::error::RestoreError> {
                match u8::get(r)? {
                    $($number => Ok($type::$variant),)*
                    _ => Err($crate::error::RestoreError("a kind is not known")),
                }
            }
        }
    };
}
pub(crate) use codec;
