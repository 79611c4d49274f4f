//! The bytes of a snapshot, little-endian: what is written is what is read, field after field. A name is written as its
//! place in a table at the front, in the order of first use, so that the bytes depend on the state alone and not on
//! the numbers that names happen to have.

use super::symbols::{IdMap, Sym, Symbols};
use crate::error::RestoreError;
use crate::id::RunId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where bytes go.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pub(crate) out: Vec<u8>,
    numbers: IdMap<Sym, u32>,
    pub(crate) used: Vec<Sym>,
}

/// Where bytes come from.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) names: Vec<Sym>,
}

type Read<T> = Result<T, RestoreError>;

impl<'a> Source<'a> {
    fn take(&mut self, count: usize) -> Read<&'a [u8]> {
        let (head, rest) = self.bytes.split_at_checked(count).ok_or(RestoreError("it is cut short"))?;
        self.bytes = rest;
        Ok(head)
    }

    /// A number of things, each of at least one byte: more than there are bytes is damage.
    fn count(&mut self) -> Read<usize> {
        let count = u32::get(self)? as usize;
        if count > self.bytes.len() { Err(RestoreError("a count is too large")) } else { Ok(count) }
    }
}

/// Something that a snapshot holds.
pub(crate) trait Codec: Sized {
    fn put(&self, w: &mut Writer);
    fn get(r: &mut Source<'_>) -> Read<Self>;
}

macro_rules! numbers {
    ($($type:ty)*) => {$(
        impl Codec for $type {
            fn put(&self, w: &mut Writer) {
                w.out.extend_from_slice(&self.to_le_bytes());
            }
            fn get(r: &mut Source<'_>) -> Read<$type> {
                let mut bytes = [0; size_of::<$type>()];
                bytes.copy_from_slice(r.take(size_of::<$type>())?);
                Ok(<$type>::from_le_bytes(bytes))
            }
        }
    )*};
}
numbers!(u8 u16 u32 u64 i64);

impl Codec for bool {
    fn put(&self, w: &mut Writer) {
        w.out.push(u8::from(*self));
    }
    fn get(r: &mut Source<'_>) -> Read<bool> {
        Ok(u8::get(r)? != 0)
    }
}

impl Codec for [u8; 32] {
    fn put(&self, w: &mut Writer) {
        w.out.extend_from_slice(self);
    }
    fn get(r: &mut Source<'_>) -> Read<[u8; 32]> {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(r.take(32)?);
        Ok(bytes)
    }
}

impl Codec for RunId {
    fn put(&self, w: &mut Writer) {
        w.out.extend_from_slice(&self.0);
    }
    fn get(r: &mut Source<'_>) -> Read<RunId> {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(r.take(16)?);
        Ok(RunId(bytes))
    }
}

impl Codec for Box<str> {
    fn put(&self, w: &mut Writer) {
        (self.len() as u32).put(w);
        w.out.extend_from_slice(self.as_bytes());
    }
    fn get(r: &mut Source<'_>) -> Read<Box<str>> {
        let count = r.count()?;
        std::str::from_utf8(r.take(count)?).map(Into::into).map_err(|_| RestoreError("a text is not UTF-8"))
    }
}

impl Codec for Arc<[u8]> {
    fn put(&self, w: &mut Writer) {
        (self.len() as u32).put(w);
        w.out.extend_from_slice(self);
    }
    fn get(r: &mut Source<'_>) -> Read<Arc<[u8]>> {
        let count = r.count()?;
        Ok(r.take(count)?.into())
    }
}

impl Codec for Sym {
    fn put(&self, w: &mut Writer) {
        let next = w.used.len() as u32;
        let number = *w.numbers.entry(*self).or_insert(next);
        if number == next {
            w.used.push(*self);
        }
        number.put(w);
    }
    fn get(r: &mut Source<'_>) -> Read<Sym> {
        let number = u32::get(r)? as usize;
        r.names.get(number).copied().ok_or(RestoreError("a name is not in the table"))
    }
}

impl<T: Codec> Codec for Option<T> {
    fn put(&self, w: &mut Writer) {
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
    fn put(&self, w: &mut Writer) {
        (**self).put(w);
    }
    fn get(r: &mut Source<'_>) -> Read<Box<T>> {
        T::get(r).map(Box::new)
    }
}

impl<T: Codec> Codec for Vec<T> {
    fn put(&self, w: &mut Writer) {
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

impl<K: Codec + Ord, V: Codec> Codec for BTreeMap<K, V> {
    fn put(&self, w: &mut Writer) {
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

impl<A: Codec, B: Codec> Codec for (A, B) {
    fn put(&self, w: &mut Writer) {
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
            fn put(&self, w: &mut $crate::state::codec::Writer) {
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
            fn put(&self, w: &mut $crate::state::codec::Writer) {
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

/// Writes the table of names before the bytes that use it.
pub(crate) fn with_names(w: Writer, symbols: &Symbols, out: &mut Vec<u8>) {
    out.extend_from_slice(&(w.used.len() as u32).to_le_bytes());
    for sym in &w.used {
        let name = symbols.name(*sym);
        out.extend_from_slice(&(name.len() as u32).to_le_bytes());
        out.extend_from_slice(name.as_bytes());
    }
    out.extend_from_slice(&w.out);
}

/// Reads that table.
pub(crate) fn read_names<'a>(bytes: &'a [u8], symbols: &mut Symbols) -> Read<Source<'a>> {
    let mut r = Source { bytes, names: Vec::new() };
    let count = r.count()?;
    let mut names = Vec::with_capacity(count);
    for _ in 0..count {
        let length = r.count()?;
        let name = std::str::from_utf8(r.take(length)?).map_err(|_| RestoreError("a name is not UTF-8"))?;
        names.push(symbols.intern(name));
    }
    r.names = names;
    Ok(r)
}
