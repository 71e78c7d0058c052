//! Turns what a source says into cues for the writer, as the faults of one exchange want it.
//!
//! Stands after the source and before rechunking, so positions are counted in the source's bytes and events. Knows nothing
//! of sockets or clocks: moments are counted from the end of the request, and the pump says what time it is.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::kind::Kind;
use super::provider::{ErrorContext, StreamPlace};
use crate::cue::{Cue, Timed};
use crate::dialect::asked::Asked;
use crate::dialect::usage::Usage;
use crate::dice::Stream;
use crate::message::{Ending, Headers, ResponseHead};

use clock::{Clock, When};
use edits::Edits;
use flow::Flow;
use places::{Place, Progress};
use times::is_error;
use units::Units;
use withheld::Withheld;

mod acts;
mod body;
mod clock;
mod edits;
mod flow;
mod head;
mod lift;
mod places;
mod stand_in;
mod times;
mod units;
mod withheld;

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
    /// Whether only the head of an answer is asked for.
    pub is_head_asked: bool,
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
    /// Whether the body is a stream whose events are told apart; holds to the end of the answer.
    is_stream: bool,
    queue: VecDeque<Timed>,
    /// The cue that is next, cut to size; before it what happens at a time that has come.
    next: VecDeque<Timed>,
    progress: Progress,
    /// Whether the last cue is in the queue; what comes from the source after it is dropped.
    is_over: bool,
    /// Whether it was taken.
    is_ended: bool,
    withheld: Withheld,
    answer: Answer,
}

/// Whose answer it is.
#[derive(Debug, Default)]
struct Answer {
    /// The fault that stands in the place of the source.
    by: Option<usize>,
    /// Whether a head was taken.
    is_begun: bool,
    /// Whether there is no source behind the faults.
    is_alone: bool,
    /// Whether a source is wanted after all.
    is_missing: bool,
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
            is_stream: false,
            queue: VecDeque::new(),
            next: VecDeque::new(),
            progress: Progress::default(),
            is_over: false,
            is_ended: false,
            withheld: Withheld::default(),
            answer: Answer::default(),
        }
    }

    /// There is no source: a fault answers alone. The head that is fed only says when.
    pub fn answer_alone(&mut self) {
        self.answer.is_alone = true;
    }

    /// Whether the faults that would have answered alone were ended before the client saw anything of it.
    pub fn is_unanswered(&self) -> bool {
        self.answer.is_missing
    }

    /// Begins anew, with a source: what was ended stays so.
    pub fn begin_again(&mut self) {
        self.clock.begin_again();
        self.answer = Answer::default();
        self.withheld = Withheld::default();
        self.progress = Progress::default();
        self.is_over = false;
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
    fn head(&mut self, moment: Moment, head: Box<ResponseHead>) {
        let before = self.clock.head(moment);
        self.mark_begun();
        self.begin(moment, before, head);
    }

    /// Begins the answer: a fault's, or else the source's.
    fn begin(&mut self, moment: Moment, before: When, mut head: Box<ResponseHead>) {
        if !self.stand_in(before) {
            self.fire(&Place::BeforeHead, before);
        }
        if self.is_over {
            self.withheld.head(moment, head);
            return;
        }
        if self.answer.is_alone {
            self.answer.is_missing = true;
            self.is_over = true;
            return;
        }
        self.pass_by(&head);
        // Of the head as the source said it: a fault may say that it is something else.
        let wishes = self.wishes(&head);
        let encoding = self.edit_head(&mut head, wishes);
        let units = Units::new(self.scene.asked.dialect, wishes, encoding.as_deref());
        self.is_stream = units.has_events();
        self.units = Some(units);
        self.flow.head(&head);
        let drip = self.drip();
        let mut timed = before.of(Cue::Head(head, drip.map(|(_, drip)| drip)));
        if let Some((fault, _)) = drip {
            timed.fault = Some(fault);
        }
        self.progress.head_at = Some(timed.due.unwrap_or(moment.at));
        self.push(timed);
        self.fire_after();
    }

    /// Header lines after the body.
    fn trailers(&mut self, moment: Moment, trailers: Headers) {
        self.rest(moment);
        if self.is_over {
            self.withheld.trailers(moment, trailers);
        } else {
            let when = self.clock.unit(moment, None);
            self.push(when.of(Cue::Trailers(trailers)));
        }
    }

    /// The end of the answer.
    fn end(&mut self, moment: Moment, ending: Ending) {
        self.rest(moment);
        self.finish(moment, ending);
    }

    fn finish(&mut self, moment: Moment, ending: Ending) {
        if ending == Ending::Complete {
            self.fire(&Place::Unterminated, When::default());
            self.fire(&Place::End, When::default());
            self.keep_promise();
        }
        if self.is_over {
            self.withheld.end(moment, ending);
        } else {
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
        if self.next.is_empty() {
            let timed = self.queue.pop_front()?;
            let by = timed.fault;
            let is_body = matches!(timed.cue, Cue::Send(_));
            let behind = if self.flow.is_between() {
                self.behind()
            } else {
                0
            };
            let (mut timed, rest) = self.flow.cut(timed, behind, now);
            let slow: Vec<_> = self.flow.begun().filter(|_| is_body).collect();
            for fault in by.into_iter().chain(timed.fault).chain(slow) {
                self.mark_injected(fault);
            }
            if let Some(mut rest) = rest {
                if by.is_some_and(|fault| is_error(&self.effects, fault)) {
                    // Half an error is not taken back.
                    rest.fault = None;
                    timed.fault = timed.fault.filter(|fault| Some(*fault) != by);
                }
                self.queue.push_front(rest);
            }
            self.next.push_back(timed);
        }
        self.next.front()
    }

    /// Whether nothing waits. Behind what waits it is only known as it goes what time it will be: [`Self::tick`] looks at that.
    fn is_idle(&self) -> bool {
        self.next.is_empty() && self.queue.is_empty()
    }

    /// Whether the source is to be asked on though there is something to send.
    pub fn looks_ahead(&self) -> bool {
        !self.is_over
            && self.flow.looks_ahead()
            && self.queue.len() < CUES_AHEAD
            && self.behind() < AHEAD
    }

    /// How many bytes of the body wait behind what is next.
    fn behind(&self) -> usize {
        let sends = self.queue.iter().map_while(|timed| match &timed.cue {
            Cue::Send(bytes) => Some(bytes.len()),
            Cue::Head(..) | Cue::Hold(_) | Cue::Trailers(_) | Cue::End(_) | Cue::Cut(_) => None,
        });
        sends.sum()
    }

    /// Takes what is next.
    pub fn take(&mut self) -> Option<Timed> {
        let next = self.next.pop_front();
        self.answer.is_begun |= next
            .as_ref()
            .is_some_and(|timed| matches!(timed.cue, Cue::Head(..)));
        self.is_ended |= next
            .as_ref()
            .is_some_and(|timed| matches!(timed.cue, Cue::End(_) | Cue::Cut(_)));
        next
    }

    /// Whether nothing that the source may say matters any more.
    pub fn is_over(&self) -> bool {
        self.is_over
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
                _ if effect.has_acted => None,
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

    fn push(&mut self, timed: Timed) {
        self.queue.push_back(timed);
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

    /// The faults whose place has not come yet.
    fn waiting(&self) -> impl Iterator<Item = (usize, &Kind)> {
        self.effects
            .iter()
            .enumerate()
            .filter(|(_, effect)| effect.fate == Fate::Waiting && !effect.has_acted)
            .map(|(fault, effect)| (fault, &effect.kind))
    }
}

/// How much of the source is taken in ahead of what is sent: 1 MiB.
const AHEAD: usize = 1024 * 1024;

/// And how many cues: they are counted over and over.
const CUES_AHEAD: usize = 1024;

#[cfg(test)]
mod tests;
