//! Waits that end within some 0.1 ms of their moment, where tokio's timer has a resolution of 1 ms.
//!
//! What waits for the same millisecond would otherwise go on together, and those behind wait for those before. A wait costs
//! two calls of the system, so it's for what was asked for in milliseconds, not for every token of a stream.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

/// One timer of the system for all who wait.
#[derive(Debug)]
pub struct Alarm {
    timer: AsyncFd<OwnedFd>,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    wakers: BTreeMap<Place, Waker>,
    count: u64,
}

/// A moment, and a number that tells those of the same moment apart.
type Place = (Instant, u64);

impl Alarm {
    /// Starts it on the runtime that runs this, for as long as that runs.
    ///
    /// # Errors
    /// If the system has no such timer left.
    pub fn start() -> io::Result<Arc<Self>> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(
            deprecated,
            reason = "what takes its place is unsafe, for descriptors that others may close; nobody else has this one"
        )]
        let timer = AsyncFd::new(timer)?;
        let alarm = Arc::new(Self {
            timer,
            waiting: Mutex::default(),
        });
        let ringing = Arc::clone(&alarm);
        tokio::spawn(async move {
            // Reading a timer fails for nobody; the runtime's end ends this.
            while ringing.ring().await.is_ok() {}
        });
        Ok(alarm)
    }

    /// Resolves at this moment, or at once if that is over. Cancel-safe.
    pub fn reach(&self, moment: Instant) -> impl Future<Output = ()> + '_ {
        Reach {
            alarm: self,
            moment,
            place: None,
        }
    }

    /// Waits for the timer, and wakes those whose moment has come.
    async fn ring(&self) -> io::Result<()> {
        let mut ready = self.timer.readable().await?;
        let mut count = [0; 8];
        match rustix::io::read(self.timer.get_ref(), &mut count) {
            Ok(_) | Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
            Err(error) => return Err(error.into()),
        }
        let due = {
            let mut waiting = self.lock();
            let later = waiting.wakers.split_off(&(Instant::now(), u64::MAX));
            let due = std::mem::replace(&mut waiting.wakers, later);
            self.set(&waiting);
            due
        };
        for waker in due.into_values() {
            waker.wake();
        }
        Ok(())
    }

    /// Sets the timer for the first who waits.
    fn set(&self, waiting: &Waiting) {
        let Some(((moment, _), _)) = waiting.wakers.first_key_value() else {
            return;
        };
        let left = moment.saturating_duration_since(Instant::now());
        let spec = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                // Nothing at all would switch the timer off.
                tv_nsec: i64::from(left.subsec_nanos().max(1)),
            },
        };
        // It can fail only for numbers that are none.
        drop(timerfd_settime(
            self.timer.get_ref(),
            TimerfdTimerFlags::empty(),
            &spec,
        ));
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A wait for one moment.
struct Reach<'a> {
    alarm: &'a Alarm,
    moment: Instant,
    place: Option<Place>,
}

impl Future for Reach<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.moment {
            return Poll::Ready(());
        }
        let (alarm, moment) = (self.alarm, self.moment);
        let mut waiting = alarm.lock();
        let place = *self.place.get_or_insert_with(|| {
            waiting.count += 1;
            (moment, waiting.count)
        });
        waiting.wakers.insert(place, cx.waker().clone());
        if waiting
            .wakers
            .first_key_value()
            .is_some_and(|(first, _)| *first == place)
        {
            alarm.set(&waiting);
        }
        Poll::Pending
    }
}

impl Drop for Reach<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.alarm.lock().wakers.remove(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn everyone_is_woken_in_turn_and_not_early() {
        let alarm = Alarm::start().unwrap();
        let start = Instant::now();
        let waits = [30, 10, 20, 10].map(|millis| {
            let alarm = Arc::clone(&alarm);
            tokio::spawn(async move {
                let moment = start + Duration::from_millis(millis);
                alarm.reach(moment).await;
                assert!(Instant::now() >= moment);
                Instant::now()
            })
        });
        let mut ends = Vec::new();
        for wait in waits {
            ends.push(wait.await.unwrap());
        }
        assert!(ends[1] <= ends[2] && ends[3] <= ends[2] && ends[2] <= ends[0]);
        assert!(alarm.lock().wakers.is_empty());
    }

    #[tokio::test]
    async fn a_wait_that_is_given_up_is_forgotten() {
        let alarm = Alarm::start().unwrap();
        let later = Instant::now() + Duration::from_secs(3600);
        let given_up = tokio::time::timeout(Duration::from_millis(5), alarm.reach(later)).await;
        assert!(given_up.is_err());
        assert!(alarm.lock().wakers.is_empty());
        alarm.reach(Instant::now()).await;
        alarm.reach(Instant::now() + Duration::from_millis(5)).await;
    }
}
