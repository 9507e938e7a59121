//! WebSocket frames (RFC 6455 §5) and permessage-deflate (RFC 7692): messages are counted, and the
//! first few texts kept.

mod deflate;

use super::Way;
use crate::model::{HttpFields, Message, Messages, Raw, WebSocket};
use deflate::Inflater;

/// Messages of each side whose text is kept.
const FIRST: usize = 4;
/// Bytes of each that are kept.
const TEXT: usize = 1024;

/// Both directions of one WebSocket.
pub(super) struct Socket {
    sent: Side,
    received: Side,
    first: Vec<Message>,
    close: Option<u16>,
    unparsed: Option<&'static str>,
}

struct Side {
    way: Way,
    state: State,
    counts: Messages,
    /// Pings, pongs and closes.
    control: Messages,
    message: Option<Open>,
    inflater: Option<Inflater>,
    texts: usize,
    /// The first byte of a close frame's status.
    close: u8,
}

enum State {
    Header {
        bytes: [u8; 14],
        have: usize,
    },
    Payload {
        left: u64,
        mask: [u8; 4],
        at: u64,
        control: Option<u8>,
    },
    /// Not read any further.
    Lost,
}

/// A message under way.
struct Open {
    text: bool,
    deflated: bool,
    fin: bool,
    bytes: u64,
    missed: bool,
    kept: Vec<u8>,
}

/// A frame's header.
struct Header {
    fin: bool,
    rsv: u8,
    opcode: u8,
    mask: Option<[u8; 4]>,
    length: u64,
}

impl Socket {
    /// After a handshake whose response had these fields.
    pub(super) fn new(response: &HttpFields) -> Self {
        let extensions =
            response.all("sec-websocket-extensions").collect::<Vec<_>>().join(&b","[..]);
        let side = |way| Side {
            way,
            state: State::Header { bytes: [0; 14], have: 0 },
            counts: Messages::default(),
            control: Messages::default(),
            message: None,
            inflater: Inflater::agreed(&extensions, way),
            texts: 0,
            close: 0,
        };
        Self {
            sent: side(Way::Out),
            received: side(Way::In),
            first: vec![],
            close: None,
            unparsed: None,
        }
    }

    /// Takes bytes of one direction.
    pub(super) fn push(&mut self, way: Way, bytes: &[u8]) {
        let (mut told, mut close) = (vec![], None);
        let (side, mut rest) = (self.side(way), bytes);
        let mut failed = None;
        while !rest.is_empty() && !matches!(side.state, State::Lost) {
            match side.take(rest, &mut told, &mut close) {
                Ok(taken) => rest = &rest[taken..],
                Err(why) => {
                    side.state = State::Lost;
                    failed = Some(why);
                }
            }
        }
        self.first.append(&mut told);
        self.close = self.close.or(close);
        self.unparsed = self.unparsed.or(failed);
    }

    /// Passes over bytes of one direction that were missed.
    pub(super) fn skip(&mut self, way: Way, bytes: u64) {
        let mut told = vec![];
        let side = self.side(way);
        let within = match &mut side.state {
            State::Payload { left, at, .. } if *left >= bytes => {
                *left -= bytes;
                *at += bytes;
                true
            }
            _ => false,
        };
        // What was compressed can't be followed over a gap.
        side.inflater = side.inflater.take().map(Inflater::lost);
        if within {
            if let Some(message) = &mut side.message {
                message.missed = true;
                message.bytes += bytes;
            }
            side.end_of_frame(&mut told);
            self.first.append(&mut told);
        } else if !matches!(side.state, State::Lost) {
            side.state = State::Lost;
            self.unparsed.get_or_insert("bytes were missed between its messages");
        }
    }

    /// Bytes that it holds.
    pub(super) fn memory(&self) -> usize {
        let side = |side: &Side| {
            side.message.as_ref().map_or(0, |message| message.kept.capacity())
                + side.inflater.as_ref().map_or(0, Inflater::memory)
        };
        side(&self.sent)
            + side(&self.received)
            + self.first.iter().map(|message| message.kept.len()).sum::<usize>()
    }

    /// What there was.
    pub(super) fn finish(mut self) -> WebSocket {
        for side in [&mut self.sent, &mut self.received] {
            side.cut();
        }
        WebSocket {
            sent: self.sent.counts,
            received: self.received.counts,
            sent_control: self.sent.control,
            received_control: self.received.control,
            first: self.first,
            close: self.close,
            unparsed: self.unparsed,
        }
    }

    fn side(&mut self, way: Way) -> &mut Side {
        match way {
            Way::Out => &mut self.sent,
            Way::In => &mut self.received,
        }
    }
}

impl Side {
    /// Takes at least one byte.
    fn take(
        &mut self,
        input: &[u8],
        told: &mut Vec<Message>,
        close: &mut Option<u16>,
    ) -> Result<usize, &'static str> {
        match &mut self.state {
            State::Header { bytes, have } => {
                let Some(&byte) = input.first() else { return Ok(0) };
                bytes[*have] = byte;
                *have += 1;
                let header = header(&bytes[..*have]);
                if let Some(header) = header {
                    self.begin(&header?)?;
                    self.end_of_frame(told);
                }
                Ok(1)
            }
            State::Payload { left, mask, at, control } => {
                let taken = (*left).min(input.len() as u64) as usize;
                let payload = &input[..taken];
                let phase = (*at % 4) as usize;
                for (at, byte) in (*at..2).zip(payload).filter(|_| *control == Some(8)) {
                    match at {
                        0 => self.close = byte ^ mask[0],
                        _ => *close = Some(u16::from_be_bytes([self.close, byte ^ mask[1]])),
                    }
                }
                if control.is_none()
                    && let Some(message) = &mut self.message
                {
                    message.take(payload, *mask, phase, self.inflater.as_mut());
                }
                *left -= taken as u64;
                *at += taken as u64;
                self.end_of_frame(told);
                Ok(taken)
            }
            State::Lost => Ok(input.len()),
        }
    }

    fn begin(&mut self, header: &Header) -> Result<(), &'static str> {
        // RFC 6455 §5.1: a client masks, a server does not.
        if header.mask.is_some() != (self.way == Way::Out) {
            return Err(
                "a WebSocket frame that is masked where it must not be, or not where it must",
            );
        }
        let control = header.opcode >= 8;
        if control && (!header.fin || header.length > 125 || header.rsv != 0) {
            return Err("a WebSocket control frame that can't be");
        }
        let deflated = header.rsv == 4;
        if header.rsv != 0 && !(deflated && self.inflater.is_some() && header.opcode != 0) {
            return Err("a WebSocket extension that was not agreed on");
        }
        match (header.opcode, &mut self.message) {
            (0, Some(message)) => message.fin = header.fin,
            (1 | 2, None) => {
                let text = header.opcode == 1;
                let (fin, missed) = (header.fin, false);
                self.message = Some(Open { text, deflated, fin, bytes: 0, missed, kept: vec![] });
            }
            (8..=10, _) => {}
            _ => return Err("a WebSocket frame that does not continue the one before"),
        }
        self.state = State::Payload {
            left: header.length,
            mask: header.mask.unwrap_or_default(),
            at: 0,
            control: control.then_some(header.opcode),
        };
        Ok(())
    }

    fn end_of_frame(&mut self, told: &mut Vec<Message>) {
        let State::Payload { left: 0, control, at, .. } = self.state else { return };
        self.state = State::Header { bytes: [0; 14], have: 0 };
        if control.is_some() {
            return self.control.add(at);
        }
        let Some(message) = self.message.take() else { return };
        if !message.fin {
            self.message = Some(message);
            return;
        }
        self.counts.add(message.bytes);
        if self.texts >= FIRST {
            return;
        }
        self.texts += 1;
        told.push(message.finish(self.way, self.inflater.as_mut()));
        if self.texts == FIRST {
            // Nothing is undone any more.
            self.inflater = self.inflater.take().map(Inflater::lost);
        }
    }

    /// What is under way has no end: its text is not told, which may be cut within a secret.
    fn cut(&mut self) {
        if let Some(message) = self.message.take() {
            self.counts.add(message.bytes);
        }
        if let State::Payload { control: Some(_), at, .. } = self.state {
            self.control.add(at);
        }
    }
}

impl Open {
    fn take(
        &mut self,
        payload: &[u8],
        mask: [u8; 4],
        phase: usize,
        inflater: Option<&mut Inflater>,
    ) {
        self.bytes += payload.len() as u64;
        if self.missed || !self.text && !self.deflated {
            return;
        }
        let plain = |(at, byte): (usize, &u8)| byte ^ mask[(phase + at) % 4];
        match inflater.filter(|_| self.deflated) {
            Some(inflater) => {
                let bytes: Vec<u8> = payload.iter().enumerate().map(plain).collect();
                inflater.push(&bytes, &mut self.kept, TEXT);
            }
            None if self.text && !self.deflated => {
                let room = TEXT.saturating_sub(self.kept.len());
                self.kept.extend(payload.iter().enumerate().map(plain).take(room));
            }
            None => {}
        }
    }

    fn finish(mut self, way: Way, inflater: Option<&mut Inflater>) -> Message {
        let mut whole = self.kept.len() as u64 == self.bytes;
        if self.deflated {
            whole = inflater.is_some_and(|inflater| inflater.end_message(&mut self.kept, TEXT));
        }
        if !self.text {
            self.kept.clear();
        }
        Message {
            sent: way == Way::Out,
            text: self.text,
            bytes: self.bytes,
            whole: whole && self.text && !self.missed,
            kept: Raw::new(self.kept),
        }
    }
}

/// Reads a header; none where more is needed.
fn header(bytes: &[u8]) -> Option<Result<Header, &'static str>> {
    let &[first, second, ref rest @ ..] = bytes else { return None };
    let masked = second & 0x80 != 0;
    let size = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let (extended, rest) = rest.split_at_checked(size)?;
    let length = match size {
        0 => u64::from(second & 0x7f),
        _ => extended.iter().fold(0, |length, &byte| length << 8 | u64::from(byte)),
    };
    let mask = match masked {
        true => Some(<[u8; 4]>::try_from(rest.get(..4)?).unwrap_or_default()),
        false => None,
    };
    if length >> 63 != 0 {
        return Some(Err("a WebSocket frame without a size"));
    }
    Some(Ok(Header {
        fin: first & 0x80 != 0,
        rsv: first >> 4 & 7,
        opcode: first & 15,
        mask,
        length,
    }))
}

#[cfg(test)]
mod tests;
