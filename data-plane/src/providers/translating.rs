//! A stream that is told to the client in other words than the vendor's.

use bytes::Bytes;
use serde_json::value::RawValue;
use shared::usage::Usage;

use super::{MOST_HELD, NotAnAnswer, Output, Reader, told::Chunks, written::Written};
use crate::sse::{self, Assembler};

/// Understands a vendor's events, one at a time.
pub trait Translator: Send {
    /// Writes what the client gets of an event.
    fn translate(&mut self, data: &[u8], chunks: &mut Chunks) -> Result<(), NotAnAnswer>;

    fn is_complete(&self) -> bool;

    fn usage(&self) -> Option<Usage>;

    /// See [`Reader::may_be_cut`].
    fn may_be_cut(&self) -> bool {
        false
    }
}

pub struct Translating<T> {
    assembler: Assembler,
    chunks: Chunks,
    translator: T,
    delivered: Written,
    /// Told when what came before has gone on.
    failure: Option<NotAnAnswer>,
}

impl<T: Translator> Translating<T> {
    pub fn new(created: u64, translator: T) -> Self {
        let (assembler, chunks) = (Assembler::default(), Chunks::new(created));
        Self { assembler, chunks, translator, delivered: Written::default(), failure: None }
    }

    fn translate(&mut self, events: &[u8]) -> Result<(), NotAnAnswer> {
        for event in sse::events(events) {
            if event.len() > MOST_HELD {
                return Err(NotAnAnswer::TooLong);
            }
            if let Some(data) = sse::data(event) {
                self.translator.translate(&data, &mut self.chunks)?;
            }
        }
        if self.assembler.held().len() > MOST_HELD {
            return Err(NotAnAnswer::TooLong);
        }
        Ok(())
    }
}

impl<T: Translator> Reader for Translating<T> {
    fn read(&mut self, bytes: Bytes) -> Result<Bytes, NotAnAnswer> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let events = self.assembler.push(bytes);
        self.failure = self.translate(&events).err();
        let told = self.chunks.take();
        self.delivered.note(&told);
        match self.failure {
            Some(failure) if told.is_empty() => Err(failure),
            Some(_) | None => Ok(told),
        }
    }

    fn is_complete(&self) -> bool {
        self.failure.is_none() && self.translator.is_complete()
    }

    fn usage(&self) -> Option<Usage> {
        self.translator.usage()
    }

    fn delivered(&self) -> Output {
        self.delivered.output()
    }

    fn may_be_cut(&self) -> bool {
        self.translator.may_be_cut()
    }
}

/// What stands where a text should, if it is one.
pub fn text(raw: Option<&RawValue>) -> Result<&RawValue, NotAnAnswer> {
    raw.filter(|it| it.get().starts_with('"')).ok_or(NotAnAnswer::Incomplete)
}
