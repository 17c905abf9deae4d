//! Single flight: of those in a process who want one thing at a time, one fetches it, and all get it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Mutex as Turn;

/// What is under way, by key.
pub(crate) struct Flights<T> {
    under_way: Mutex<HashMap<String, Arc<Turn<Option<T>>>>>,
}

/// A place among those who want the same. Whoever's turn it is while nothing has come fetches it; who goes
/// away, in the middle of it or not, leaves the turn to the next.
pub(crate) struct Seat<'a, T> {
    flights: &'a Flights<T>,
    key: &'a str,
    flight: Arc<Turn<Option<T>>>,
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self {
            under_way: Mutex::default(),
        }
    }
}

impl<T> Flights<T> {
    pub fn join<'a>(&'a self, key: &'a str) -> Seat<'a, T> {
        let mut under_way = self.under_way.lock();
        let flight = match under_way.get(key) {
            Some(flight) => Arc::clone(flight),
            None => Arc::clone(under_way.entry(key.to_owned()).or_default()),
        };
        Seat {
            flights: self,
            key,
            flight,
        }
    }

    /// Who comes from now on begins anew: what is under way may be of before a change.
    pub fn part(&self, key: &str) {
        self.under_way.lock().remove(key);
    }
}

impl<T: Clone> Seat<'_, T> {
    /// What somebody fetched, and true; or what `fetch` does, which all who wait get.
    pub async fn get(&self, fetch: impl Future<Output = T>) -> (T, bool) {
        let mut turn = self.flight.lock().await;
        if let Some(fetched) = &*turn {
            return (fetched.clone(), true);
        }
        let fetched = turn.insert(fetch.await).clone();
        self.leave(|_| true);
        (fetched, false)
    }
}

impl<T> Seat<'_, T> {
    /// Takes the flight off the list, if it is there and `also` says so.
    fn leave(&self, also: impl FnOnce(&Arc<Turn<Option<T>>>) -> bool) {
        let mut under_way = self.flights.under_way.lock();
        let listed = under_way.get(self.key);
        if listed.is_some_and(|listed| Arc::ptr_eq(listed, &self.flight) && also(listed)) {
            under_way.remove(self.key);
        }
    }
}

impl<T> Drop for Seat<'_, T> {
    fn drop(&mut self) {
        // The list's and ours: nobody else waits.
        self.leave(|listed| Arc::strong_count(listed) == 2);
    }
}
