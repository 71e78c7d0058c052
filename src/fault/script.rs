//! Turns what a source says into cues for the writer, as the faults of one exchange want it.
//!
//! Stands after the source and before rechunking, so positions are counted in the source's bytes and events. Knows nothing
//! of sockets or clocks: moments are counted from the end of the request, and the pump says what time it is.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::edit::corrupt::{Corrupter, garbage};
use super::kind::{How, KeepAlive, Kind, Then};
use super::position::Position;
use super::provider::{self, ErrorContext, StreamPlace};
use crate::cue::{Cue, Cut, Silence, Timed};
use crate::dialect::Part;
use crate::dialect::asked::Asked;
use crate::dialect::usage::Usage;
use crate::dice::Stream;
use crate::frames::sse::SseEvent;
use crate::message::{Ending, Headers, ResponseHead};

use clock::{Clock, When};
use edits::{Edits, Piece};
use flow::Flow;
use units::{BrokenEncoding, Unit, Units, Wishes};

mod clock;
mod edits;
mod flow;
mod head;
mod units;

/// A fault that hits this exchange.
#[derive(Debug)]
pub struct Armed {
    /// What it does.
    pub kind: Kind,
    /// What its chance comes from.
    pub chance: Stream,
    /// What stands in the place of the source's answer, for the kinds that have that.
    pub stand_in: Option<(ResponseHead, Bytes)>,
    /// Whether it takes the whole connection.
    pub is_for_connection: bool,
}

/// How far a fault has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its moment has not come.
    Waiting,
    /// It was seen by the client, or is being seen.
    Injected,
    /// It was ended from outside before its moment came.
    Lifted,
}

/// What a script needs to know of the exchange.
#[derive(Clone, Debug)]
pub struct Scene {
    /// What the request asks for.
    pub asked: Asked,
    /// Header lines of the answer that say how limits stand.
    pub limits: Headers,
    /// Whether the tokens of the answer are to be counted.
    pub counts_tokens: bool,
    /// What ids in made-up errors are made from.
    pub seed: u64,
    /// What the clock on the wall shows.
    pub now: SystemTime,
}

impl Scene {
    /// What an error of the provider is about.
    pub fn context(&self) -> ErrorContext<'_> {
        ErrorContext::new(&self.asked, self.seed, self.now)
    }
}

/// When something of an answer came, or is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// From the end of the request.
    pub at: Duration,
    /// Whether it came just then; otherwise it is planned for then.
    pub is_live: bool,
}

impl Moment {
    fn due(self) -> Option<Duration> {
        (!self.is_live).then_some(self.at)
    }
}

/// The faults of one exchange, at work.
#[derive(Debug)]
pub struct Script {
    effects: Vec<Effect>,
    scene: Scene,
    /// What the stream said of itself, for errors in it.
    place: StreamPlace,
    /// What the answer says of tokens.
    usage: Option<Usage>,
    clock: Clock,
    flow: Flow,
    edits: Edits,
    units: Option<Units>,
    queue: VecDeque<Timed>,
    /// The cue that is next, cut to size.
    next: Option<Timed>,
    /// When the head came or was due.
    head_at: Option<Duration>,
    events: u64,
    bytes: u64,
    /// Whether the last cue is in the queue; what comes from the source after it is dropped.
    is_over: bool,
    /// Whether it was taken.
    is_ended: bool,
    seen: Seen,
}

/// One fault at work.
#[derive(Debug)]
struct Effect {
    kind: Kind,
    fate: Fate,
    /// Whether its place was reached: it acts once.
    has_acted: bool,
    stand_in: Option<(ResponseHead, Bytes)>,
    is_for_connection: bool,
    chance: Stream,
}

/// A place that the answer has come to.
enum Place {
    BeforeHead,
    /// So much of the body is through.
    After {
        events: u64,
        bytes: u64,
    },
    /// The first event of this part is next.
    Before(Part),
    /// It is so late.
    Time(Duration),
    /// All of the body is through.
    End,
}

/// What has been in the answer.
#[derive(Debug, Default)]
struct Seen {
    tool_call: bool,
    token: bool,
    terminator: bool,
}

impl Script {
    /// Faults that hit one exchange, in the order of their rules.
    pub fn new(armed: Vec<Armed>, scene: Scene) -> Self {
        let clock = Clock::new(&armed);
        let flow = Flow::new(&armed);
        let edits = Edits::new(&armed, scene.asked.dialect);
        Self {
            effects: armed
                .into_iter()
                .map(|armed| Effect {
                    kind: armed.kind,
                    fate: Fate::Waiting,
                    has_acted: false,
                    stand_in: armed.stand_in,
                    is_for_connection: armed.is_for_connection,
                    chance: armed.chance,
                })
                .collect(),
            scene,
            place: StreamPlace::default(),
            usage: None,
            clock,
            flow,
            edits,
            units: None,
            queue: VecDeque::new(),
            next: None,
            head_at: None,
            events: 0,
            bytes: 0,
            is_over: false,
            is_ended: false,
            seen: Seen::default(),
        }
    }

    /// Takes what the source says.
    pub fn feed(&mut self, moment: Moment, cue: Cue) {
        match cue {
            Cue::Head(head, _) => self.head(moment, head),
            Cue::Send(bytes) => self.chunk(moment, bytes),
            Cue::Trailers(trailers) => self.trailers(moment, trailers),
            Cue::End(ending) => self.end(moment, ending),
            // No source says these.
            Cue::Hold(_) | Cue::Cut(_) => {}
        }
    }

    /// The head of the answer.
    fn head(&mut self, moment: Moment, mut head: ResponseHead) {
        let before = self.clock.head(moment);
        self.mark_begun();
        if self.stand_in(before) {
            return;
        }
        self.fire(&Place::BeforeHead, before);
        if self.is_over {
            return;
        }
        let encoding = self.edit_head(&mut head);
        let wishes = Wishes {
            events: self.needs_events(),
            whole: self.needs_whole(),
        };
        let dialect = self.scene.asked.dialect;
        self.units = Some(Units::new(&head, dialect, wishes, encoding.as_deref()));
        self.flow.head(&head);
        let drip = self.drip();
        let mut timed = before.of(Cue::Head(head, drip.map(|(_, drip)| drip)));
        if let Some((fault, _)) = drip {
            timed.fault = Some(fault);
        }
        self.head_at = Some(timed.due.unwrap_or(moment.at));
        self.push(timed);
        self.fire(
            &Place::After {
                events: 0,
                bytes: 0,
            },
            When::default(),
        );
    }

    /// Bytes of the body.
    fn chunk(&mut self, moment: Moment, bytes: Bytes) {
        let Some(mut units) = self.units.take() else {
            return;
        };
        let pushed = units.push(bytes);
        self.units = Some(units);
        self.units(moment, pushed);
    }

    /// Header lines after the body.
    fn trailers(&mut self, moment: Moment, trailers: Headers) {
        self.rest(moment);
        if !self.is_over {
            let when = self.clock.unit(moment, None);
            self.push(when.of(Cue::Trailers(trailers)));
        }
    }

    /// The end of the answer.
    fn end(&mut self, moment: Moment, ending: Ending) {
        self.rest(moment);
        if ending == Ending::Complete {
            if !self.seen.terminator {
                self.fire(&Place::Before(Part::Terminator), When::default());
            }
            self.fire(&Place::End, When::default());
        }
        if !self.is_over {
            self.push(Timed {
                due: moment.due(),
                natural: moment.due(),
                fault: None,
                is_apart: false,
                cue: Cue::End(ending),
            });
            self.is_over = true;
        }
    }

    /// What is next. Stays the same until it is [taken](Self::take).
    pub fn next(&mut self, now: Duration) -> Option<&Timed> {
        if self.next.is_none() {
            let timed = self.queue.pop_front()?;
            let (timed, rest) = self.flow.cut(timed, now);
            if let Some(fault) = timed.fault {
                self.mark_injected(fault);
            }
            if let Some(rest) = rest {
                self.queue.push_front(rest);
            }
            self.next = Some(timed);
        }
        self.next.as_ref()
    }

    /// Takes what is next.
    pub fn take(&mut self) -> Option<Timed> {
        let next = self.next.take();
        self.is_ended |= next
            .as_ref()
            .is_some_and(|timed| matches!(timed.cue, Cue::End(_) | Cue::Cut(_)));
        next
    }

    /// Whether nothing that the source may say matters any more.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// When something happens even if the source says nothing.
    pub fn deadline(&self) -> Option<Duration> {
        let head_at = self.head_at.filter(|_| !self.is_over)?;
        self.waiting()
            .filter_map(|(_, kind)| match position(kind)? {
                Position::Time(span) => Some(head_at + span.0),
                _ => None,
            })
            .min()
    }

    /// It is this late now.
    pub fn tick(&mut self, now: Duration) {
        self.fire(&Place::Time(now), When::default());
    }

    /// Ends a fault: what it has not done yet does not happen.
    pub fn lift(&mut self, fault: usize) {
        if let Some(effect) = self.effects.get_mut(fault) {
            effect.has_acted = true;
            if effect.fate == Fate::Waiting {
                effect.fate = Fate::Lifted;
            }
        }
        self.clock.lift(fault);
        self.flow.lift(fault);
        self.edits.lift(fault);
        self.queue
            .retain(|timed| timed.fault != Some(fault) || !is_made_up(&timed.cue));
        for timed in self.queue.iter_mut().chain(&mut self.next) {
            if timed.fault == Some(fault) {
                timed.due = timed.natural;
                match &mut timed.cue {
                    Cue::Hold(silence) => silence.time = Some(Duration::ZERO),
                    Cue::Head(_, drip) => *drip = None,
                    Cue::Send(_) | Cue::Trailers(_) | Cue::End(_) | Cue::Cut(_) => {}
                }
            }
        }
        let ends = |timed: &Timed| matches!(timed.cue, Cue::End(_) | Cue::Cut(_));
        if self.is_over && !self.is_ended && !self.queue.iter().chain(&self.next).any(ends) {
            // What the source said meanwhile is gone, so that the answer can't go on.
            self.push(Timed::now(Cue::Cut(Cut::Close)));
        }
    }

    /// What became of each fault, in their order.
    pub fn fates(&self) -> impl Iterator<Item = Fate> {
        self.effects.iter().map(|effect| effect.fate)
    }

    /// Notes the faults on time that have begun.
    fn mark_begun(&mut self) {
        for fault in self.clock.begun() {
            self.mark_injected(fault);
        }
    }

    /// Bytes a second at which the request is read, the slowest of all, and whose doing that is.
    pub fn upload_rate(&self) -> Option<(usize, u64)> {
        let rates = self
            .effects
            .iter()
            .enumerate()
            .filter_map(|(fault, effect)| match &effect.kind {
                _ if effect.fate == Fate::Lifted => None,
                Kind::SlowRead(rate) | Kind::Bandwidth { up: Some(rate), .. } => {
                    Some((fault, rate.0))
                }
                _ => None,
            });
        rates.min_by_key(|(_, rate)| *rate)
    }

    /// Notes that a fault which the pump carries out itself has begun.
    pub fn mark_injected(&mut self, fault: usize) {
        if let Some(effect) = self.effects.get_mut(fault)
            && effect.fate == Fate::Waiting
        {
            effect.fate = Fate::Injected;
        }
    }

    /// Puts another answer, or none, in the place of the source's, if a fault wants that.
    fn stand_in(&mut self, when: When) -> bool {
        let wants = |kind: &Kind| matches!(kind, Kind::Empty | Kind::Blackhole | Kind::Garbage(_));
        let Some(fault) = self.effects.iter().position(|effect| {
            effect.fate == Fate::Waiting && (effect.stand_in.is_some() || wants(&effect.kind))
        }) else {
            return false;
        };
        let effect = &mut self.effects[fault];
        effect.has_acted = true;
        match (effect.stand_in.take(), effect.kind.clone()) {
            (Some((head, body)), _) => {
                self.head_at = when.due;
                self.say(fault, when, Cue::Head(head, None));
                if !body.is_empty() {
                    self.say(fault, when, Cue::Send(body));
                }
                self.last(fault, when, Cue::End(Ending::Complete));
            }
            (None, Kind::Blackhole) => {
                self.say(
                    fault,
                    when,
                    Cue::Hold(Silence {
                        time: None,
                        noise: None,
                    }),
                );
                self.last(fault, When::default(), Cue::Cut(Cut::Close));
            }
            (None, Kind::Garbage(count)) => {
                let chance = &mut self.effects[fault].chance;
                let bytes = garbage(count, &mut || chance.bits());
                self.last(fault, when, Cue::Cut(Cut::Garbage(bytes)));
            }
            (None, _) => self.last(fault, when, Cue::Cut(Cut::Fin)),
        }
        true
    }

    fn push(&mut self, timed: Timed) {
        self.queue.push_back(timed);
    }

    /// What was held of the body.
    fn rest(&mut self, moment: Moment) {
        if let Some(mut units) = self.units.take() {
            let rest = units.finish();
            self.units(moment, rest);
        }
        let held = self.edits.finish();
        let when = self.clock.unit(moment, None);
        self.write(when, held);
    }

    fn units(&mut self, moment: Moment, units: Result<Vec<Unit>, BrokenEncoding>) {
        match units {
            Ok(units) => {
                for unit in units {
                    self.unit(moment, unit);
                }
            }
            Err(BrokenEncoding) if !self.is_over => {
                self.push(Timed::now(Cue::End(Ending::Malformed)));
                self.is_over = true;
            }
            Err(BrokenEncoding) => {}
        }
    }

    fn unit(&mut self, moment: Moment, mut unit: Unit) {
        if self.is_over {
            return;
        }
        self.fire(&Place::Time(self.clock.when(moment)), When::default());
        self.fire_before(unit.part);
        if self.is_over || self.is_left_out(unit.part) {
            return;
        }
        // A position in bytes may fall inside.
        while let Some(at) = self
            .next_byte_position()
            .filter(|at| *at < self.bytes + unit.bytes.len() as u64)
        {
            let length = usize::try_from(at - self.bytes).unwrap_or(usize::MAX);
            let before = unit.bytes.split_to(length);
            self.send(
                moment,
                &Piece {
                    bytes: before,
                    number: self.events + 1,
                    // Half an event is nothing that could be edited.
                    part: None,
                    is_whole: false,
                },
            );
            unit.part = None;
            unit.is_whole = false;
            self.fire(
                &Place::After {
                    events: self.events,
                    bytes: self.bytes,
                },
                When::default(),
            );
            if self.is_over {
                return;
            }
        }
        if unit.is_event {
            self.events += 1;
        }
        let piece = Piece {
            bytes: unit.bytes,
            number: self.events,
            part: unit.part,
            is_whole: unit.is_whole,
        };
        self.send(moment, &piece);
        self.fire(
            &Place::After {
                events: self.events,
                bytes: self.bytes,
            },
            When::default(),
        );
    }

    /// Whether this is the terminator, and a fault wants none.
    fn is_left_out(&mut self, part: Option<Part>) -> bool {
        let missing = self
            .waiting()
            .find(|(_, kind)| {
                matches!(
                    kind,
                    Kind::Cut {
                        how: How::MissingTerminator,
                        ..
                    }
                )
            })
            .map(|(fault, _)| fault)
            .filter(|_| part == Some(Part::Terminator));
        if let Some(fault) = missing {
            self.mark_injected(fault);
        }
        missing.is_some()
    }

    /// Sends a piece of the body, with what is done to it.
    fn send(&mut self, moment: Moment, piece: &Piece) {
        if piece.bytes.is_empty() {
            return;
        }
        self.bytes += piece.bytes.len() as u64;
        self.look(piece);
        let when = self.clock.unit(moment, piece.part);
        self.mark_begun();
        let writes = self.edits.apply(self.scene.asked.dialect, piece);
        self.write(when, writes);
    }

    fn write(&mut self, when: When, writes: Vec<Bytes>) {
        for fault in self.edits.begun() {
            self.mark_injected(fault);
        }
        let mut when = when;
        for bytes in writes {
            self.push(when.of(Cue::Send(bytes)));
            // Writes of one piece stay apart on the wire.
            when = when.apart();
        }
    }

    /// Notes what a piece says of tokens and of the stream.
    fn look(&mut self, piece: &Piece) {
        let wants_place = self
            .effects
            .iter()
            .any(|effect| matches!(effect.kind, Kind::ErrorEvent { .. }));
        if !self.scene.counts_tokens && !wants_place {
            return;
        }
        let data = match piece.part {
            Some(_) => SseEvent::parse(&piece.bytes).data,
            None if piece.is_whole => Some(String::from_utf8_lossy(&piece.bytes)),
            None => None,
        };
        let Some(data) = data else { return };
        if wants_place && piece.part.is_some() {
            self.place.see(&data);
        }
        if let Some(later) = Usage::of(self.scene.asked.dialect, &data) {
            self.usage.get_or_insert(later).update(later);
        }
    }

    /// How many tokens the answer says that were used.
    pub fn used_tokens(&self) -> Option<u64> {
        self.usage.and_then(Usage::total)
    }

    fn fire_before(&mut self, part: Option<Part>) {
        match part {
            Some(Part::ToolCall) if !self.seen.tool_call => {
                self.seen.tool_call = true;
                self.fire(&Place::Before(Part::ToolCall), When::default());
            }
            Some(Part::Content) if !self.seen.token => {
                self.seen.token = true;
                self.fire(&Place::Before(Part::Content), When::default());
            }
            Some(Part::Terminator) if !self.seen.terminator => {
                self.seen.terminator = true;
                self.fire(&Place::Before(Part::Terminator), When::default());
            }
            _ => {}
        }
    }

    /// Has every waiting fault act whose place is reached.
    fn fire(&mut self, place: &Place, when: When) {
        let reached: Vec<usize> = self
            .waiting()
            .filter(|(_, kind)| {
                position(kind).is_some_and(|position| self.is_reached(position, place))
            })
            .map(|(fault, _)| fault)
            .collect();
        for fault in reached {
            if !self.is_over
                && let Some(effect) = self.effects.get_mut(fault)
            {
                effect.has_acted = true;
                let kind = effect.kind.clone();
                self.act(fault, &kind, when);
            }
        }
    }

    fn is_reached(&self, position: &Position, place: &Place) -> bool {
        match (position, place) {
            (Position::BeforeHead, Place::BeforeHead)
            | (Position::End, Place::End)
            | (Position::Head, Place::After { .. }) => true,
            (Position::Events(count), Place::After { events, .. }) => events >= count,
            (Position::Bytes(count), Place::After { bytes, .. }) => *bytes >= count.0,
            (Position::Time(span), Place::Time(now)) => {
                self.head_at.is_some_and(|head| *now >= head + span.0)
            }
            (Position::FirstToolCall, Place::Before(part)) => *part == Part::ToolCall,
            (Position::FirstToken, Place::Before(part)) => *part == Part::Content,
            (Position::BeforeTerminator, Place::Before(part)) => *part == Part::Terminator,
            _ => false,
        }
    }

    fn act(&mut self, fault: usize, kind: &Kind, when: When) {
        match kind {
            Kind::Stall {
                time,
                keepalive,
                every,
                ..
            } => {
                let noise = self.noise(*keepalive).map(|bytes| (bytes, every.0));
                self.say(
                    fault,
                    when,
                    Cue::Hold(Silence {
                        time: time.map(|time| time.0),
                        noise,
                    }),
                );
            }
            Kind::HoldOpen(time) => {
                self.say(
                    fault,
                    when,
                    Cue::Hold(Silence {
                        time: time.map(|time| time.0),
                        noise: None,
                    }),
                );
            }
            Kind::Cut { how, .. } => {
                let is_for_connection = self
                    .effects
                    .get(fault)
                    .is_some_and(|effect| effect.is_for_connection);
                let cut = cut_of(*how, is_for_connection);
                self.last(fault, when, cut);
            }
            Kind::ErrorEvent {
                error, style, then, ..
            } => {
                // Elsewhere there is no place for it.
                if !self.is_stream() {
                    return;
                }
                let frames = provider::event(*error, &self.scene.context(), &self.place, *style);
                let frame = Bytes::from(frames);
                self.say(fault, when, Cue::Send(frame));
                match then {
                    Then::Continue => {}
                    Then::End => self.last(fault, when, Cue::End(Ending::Complete)),
                    Then::Close => self.last(fault, when, Cue::Cut(Cut::Close)),
                }
            }
            Kind::Corrupt { count, unit, .. } => {
                if let Some(effect) = self.effects.get(fault) {
                    let corrupter = Corrupter::new(*count, *unit);
                    self.edits.corrupt(fault, corrupter, effect.chance.clone());
                }
            }
            Kind::MalformedChunk { .. } => {
                self.last(
                    fault,
                    when,
                    Cue::Cut(Cut::Garbage(Bytes::from_static(MALFORMED_CHUNK))),
                );
            }
            _ => {}
        }
    }

    /// What hides a silence, if this dialect has it.
    fn noise(&self, keepalive: KeepAlive) -> Option<Bytes> {
        let dialect = self.scene.asked.dialect;
        let frame = match keepalive {
            KeepAlive::None => None,
            KeepAlive::Comment => dialect.comment(),
            KeepAlive::Ping => dialect.ping(),
        };
        frame.filter(|_| self.is_stream()).map(Bytes::from_static)
    }

    /// Whether the body is a stream whose events are told apart.
    fn is_stream(&self) -> bool {
        self.units.as_ref().is_some_and(Units::has_events)
    }

    fn say(&mut self, fault: usize, when: When, cue: Cue) {
        self.push(Timed {
            fault: Some(fault),
            ..when.of(cue)
        });
    }

    fn last(&mut self, fault: usize, when: When, cue: Cue) {
        self.say(fault, when, cue);
        self.is_over = true;
    }

    fn next_byte_position(&self) -> Option<u64> {
        self.waiting()
            .filter_map(|(_, kind)| match position(kind)? {
                Position::Bytes(size) => Some(size.0),
                _ => None,
            })
            .min()
    }

    /// The faults whose place has not come yet.
    fn waiting(&self) -> impl Iterator<Item = (usize, &Kind)> {
        self.effects
            .iter()
            .enumerate()
            .filter(|(_, effect)| effect.fate == Fate::Waiting && !effect.has_acted)
            .map(|(fault, effect)| (fault, &effect.kind))
    }
}

/// Where a fault acts, if it waits for a place.
fn position(kind: &Kind) -> Option<&Position> {
    match kind {
        Kind::Stall { after, .. }
        | Kind::ErrorEvent { after, .. }
        | Kind::Corrupt { after, .. }
        | Kind::MalformedChunk { after } => Some(after),
        Kind::Cut { after, how } => (*how != How::MissingTerminator).then_some(after),
        Kind::HoldOpen(_) => Some(&Position::End),
        _ => None,
    }
}

fn cut_of(how: How, is_for_connection: bool) -> Cue {
    Cue::Cut(match how {
        How::CleanEnd | How::MissingTerminator => return Cue::End(Ending::Complete),
        How::MissingLastChunk => Cut::Close,
        How::CloseFramed | How::ShortBody => Cut::Fin,
        How::Reset if is_for_connection => Cut::ResetConnection,
        How::Reset => Cut::Reset,
        How::H2Reset(code) => Cut::H2Reset(code),
        How::GoAway(code) => Cut::GoAway(code),
    })
}

/// Whether a cue is not of the source's: it goes when its fault goes.
fn is_made_up(cue: &Cue) -> bool {
    match cue {
        Cue::Hold(_) | Cue::Cut(_) | Cue::End(_) => true,
        Cue::Head(..) | Cue::Send(_) | Cue::Trailers(_) => false,
    }
}

/// The size of a chunk, in letters that are no digits.
const MALFORMED_CHUNK: &[u8] = b"ZZ\r\nnot a chunk\r\n";

#[cfg(test)]
mod tests;
