//! Faults that let nothing come of the source's answer.

use super::clock::When;
use super::{Fate, Script};
use crate::cue::{Cue, Cut, Silence};
use crate::fault::edit::corrupt::garbage;
use crate::fault::kind::Kind;
use crate::message::Ending;

impl Script {
    /// Puts another answer, or none, in the place of the source's, if a fault wants that.
    pub(super) fn stand_in(&mut self, when: When) -> bool {
        let wants = |kind: &Kind| matches!(kind, Kind::Empty | Kind::Blackhole | Kind::Garbage(_));
        let Some(fault) = self.effects.iter().position(|effect| {
            effect.fate == Fate::Waiting && (effect.stand_in.is_some() || wants(&effect.kind))
        }) else {
            return false;
        };
        self.answer.by = Some(fault);
        let effect = &mut self.effects[fault];
        effect.has_acted = true;
        match (effect.stand_in.take(), effect.kind.clone()) {
            (Some((head, body)), _) => {
                self.progress.head_at = when.due;
                self.say(fault, when, Cue::Head(Box::new(head), None));
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
}
