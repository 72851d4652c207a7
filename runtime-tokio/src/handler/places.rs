//! The class of small requests that hold no slots: a few at once, and of one user a share of them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use sluice_engine::UserId;

/// A user has at most one part in so many of the places, and at least one place.
const SHARE: usize = 4;

/// The places of one worker.
#[derive(Debug)]
pub(crate) struct Places {
    max: usize,
    taken: RefCell<BTreeMap<UserId, usize>>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Rc<Places>,
    user: UserId,
}

impl Places {
    pub(crate) fn new(max: usize) -> Rc<Self> {
        Rc::new(Self { max, taken: RefCell::default() })
    }

    /// A place for a request of this user, if there is one.
    pub(crate) fn take(self: &Rc<Self>, user: UserId) -> Option<Place> {
        let mut taken = self.taken.borrow_mut();
        let all: usize = taken.values().sum();
        let own = taken.get(&user).copied().unwrap_or_default();
        if all >= self.max || own >= self.max.div_ceil(SHARE) {
            return None;
        }
        taken.insert(user, own + 1);
        Some(Place { places: self.clone(), user })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.borrow_mut();
        match taken.get_mut(&self.user) {
            Some(own) if *own > 1 => *own -= 1,
            Some(_) | None => drop(taken.remove(&self.user)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_a_share_and_all_together_no_more_than_there_are() {
        let places = Places::new(5);
        let take = |user| places.take(UserId(user));
        let first = [take(1), take(1)];
        assert!(first.iter().all(Option::is_some));
        assert!(take(1).is_none(), "a share is two of five");
        let others = [take(2), take(3), take(3)];
        assert!(others.iter().all(Option::is_some));
        assert!(take(4).is_none(), "all are taken");
        drop(first);
        assert!(take(4).is_some());
        drop(others);
        assert!(places.taken.borrow().is_empty());
    }
}
