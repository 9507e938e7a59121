//! Masking: `Call` → `Masked<Call>`. Pure; the only room that can make a `Masked`.



/// What masking has seen. `ledger` takes nothing else that came from an agent.
#[derive(Clone, Debug)]
pub struct Masked<T> {
    value: T,
}

impl<T> Masked<T> {
    /// The masked value.
    pub fn get(&self) -> &T {
        &self.value
    }
}
