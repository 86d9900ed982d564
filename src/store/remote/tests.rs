use super::*;
use crate::store::memory::MemoryStore;
use crate::store::tests::segment;
use crate::store::{Commit, Store};

/// A store whose readers read as if it were another process's.
#[derive(Default)]
pub struct Distant(MemoryStore);

/// Asks by bytes.
struct Bytewise(Box<dyn StoreReader>);

impl Ask for Bytewise {
    fn ask(&mut self, question: Question) -> Result<Answer, StoreError> {
        let question = rmp_serde::from_slice(&rmp_serde::to_vec(&question).unwrap()).unwrap();
        let told = rmp_serde::to_vec(&answer(&mut *self.0, &question)).unwrap();
        Ok(rmp_serde::from_slice(&told).unwrap())
    }
}

impl Store for Distant {
    fn commit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        self.0.commit(commit)
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.get(key)
    }

    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        Ok(Box::new(RemoteReader::new(Bytewise(self.0.reader()?))))
    }
}

#[test]
fn what_is_too_much_for_an_answer_comes_in_parts() {
    let mut store = Distant::default();
    let key = |number: u32| format!("k{number:05}").into_bytes();
    let many = (0..ANSWER_COUNT_MAX as u32 + 1).map(|number| (key(number), Some(Vec::new()))).collect();
    store.commit(&Commit { rows: many, ..Commit::default() }).unwrap();
    let large = (0..5).map(|number| (format!("l{number}").into_bytes(), Some(vec![7; 3 << 20]))).collect();
    store.commit(&Commit { rows: large, ..Commit::default() }).unwrap();
    let mut reader = store.reader().unwrap();
    let mut count = |prefix: &[u8], limit| reader.scan(prefix, None, limit).unwrap().len();
    assert_eq!([count(b"k", usize::MAX), count(b"k", 10_000), count(b"k", 3)], [10_001, 10_000, 3]);
    assert_eq!([count(b"l", usize::MAX), count(b"l", 4), count(b"m", 1), count(b"", 0)], [5, 4, 0, 0]);
    let segments = (1..=10_001).map(|at| segment(at, at * 10, 1, &[("r", &format!("t/{at:05}"))])).collect();
    store.commit(&Commit { segments, ..Commit::default() }).unwrap();
    let mut reader = store.reader().unwrap();
    assert_eq!(reader.headers(0, usize::MAX).unwrap().len(), 10_001);
    assert_eq!(reader.headers(0, 10_000).unwrap().len(), 10_000);
    assert_eq!(reader.topics("r", "t/", None, usize::MAX).unwrap().len(), 10_001);
}

/// Whoever is asked says the same to everything.
struct Stubborn(Answer);

impl Ask for Stubborn {
    fn ask(&mut self, _: Question) -> Result<Answer, StoreError> {
        Ok(self.0.clone())
    }
}

#[test]
fn what_fails_there_fails_here() {
    let ask = |answer| RemoteReader::new(Stubborn(answer)).first_since(1).unwrap_err();
    for error in [StoreError::Damaged("x".to_owned()), StoreError::Unavailable("x".to_owned())] {
        assert_eq!(ask(Answer::Failed(error.clone())), error);
    }
    assert!(matches!(ask(Answer::Topics(Vec::new())), StoreError::Unusable(_)));
}
