//! Ints, of any size.

use super::FromPython;
use crate::beam::Word;
use crate::py::{Object, Raised, Result, api, ffi};

impl<'py> FromPython<'_, 'py> {
    #[inline(never)]
    pub(super) unsafe fn int(&self, object: *mut ffi::PyObject) -> Result<Word> {
        let mut overflow = 0;
        // SAFETY: attached; an int.
        let value = unsafe { ffi::PyLong_AsLongLongAndOverflow(object, &mut overflow) };
        if overflow == 0 {
            return Ok(self.env.int(value));
        }
        self.big_int(object, overflow < 0)
    }

    /// An integer beyond 64 bits, by way of the external format (see `from_erlang`).
    fn big_int(&self, object: *mut ffi::PyObject, negative: bool) -> Result<Word> {
        let magnitude = self.magnitude(object)?;
        // `int`'s own method, on an exact int.
        let bits = magnitude.getattr_str("bit_length")?.call(&[])?;
        // SAFETY: attached; an int.
        let bits = unsafe { ffi::PyLong_AsSize_t(bits.as_ptr()) };
        if bits == usize::MAX {
            return Err(Raised::seen(self.py));
        }
        // One bit more than the magnitude has, for the sign that the C function writes.
        self.takes((bits / 8).saturating_add(2 * super::WORD))?;
        let mut digits = vec![0; bits / 8 + 1];
        // SAFETY: attached; an int that is not negative.
        if !unsafe { api::int_to_bytes(magnitude.as_ptr(), &mut digits) } {
            return Err(Raised::seen(self.py));
        }
        while digits.last() == Some(&0) {
            digits.pop();
        }
        let mut external = vec![131, 111];
        external.extend(
            u32::try_from(digits.len())
                .unwrap_or(u32::MAX)
                .to_be_bytes(),
        );
        external.push(u8::from(negative));
        external.extend(&digits);
        self.env.of_external(&external).ok_or_else(|| {
            Raised::overflow_error(self.py, "the int is larger than Erlang's largest integer")
        })
    }

    /// The absolute value as an exact int. A subclass may define `__abs__`, and no code of users may run while
    /// containers are being read; so this asks `int` itself.
    fn magnitude(&self, object: *mut ffi::PyObject) -> Result<Object<'py>> {
        // SAFETY: attached; the slots of the static type `int` never change, and they take any int.
        unsafe {
            let slots = ffi::PyLong_Type.tp_as_number;
            let absolute = if slots.is_null() {
                None
            } else {
                (*slots).nb_absolute
            };
            let Some(absolute) = absolute else {
                return Err(Raised::runtime_error(self.py, "int has no absolute value"));
            };
            let magnitude = Object::owned_or_raised(self.py, absolute(object))?;
            if ffi::PyLong_CheckExact(magnitude.as_ptr()) == 0 {
                return Err(Raised::runtime_error(self.py, "int gave no int"));
            }
            Ok(magnitude)
        }
    }
}
