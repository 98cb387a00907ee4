//! Where the compiler found an error.

use super::story::Teller;
use super::text;
use crate::beam::{Word, atoms};
use crate::py::{Object, ffi};
use std::ffi::c_int;

impl<'py> Teller<'_, 'py> {
    /// `{File, Line, Column, EndLine, EndColumn, Text, Message}` of a `SyntaxError`, `undefined` for what it
    /// does not say; `None` for other exceptions.
    pub(super) fn syntax(&mut self, exception: &Object<'py>) -> Option<Word> {
        // SAFETY: a static class.
        if !exception.is_a(unsafe { ffi::PyExc_SyntaxError }) {
            return None;
        }
        let error = exception.as_ptr().cast::<ffi::PySyntaxErrorObject>();
        // SAFETY: every instance of the class begins with this structure; its pointers are null or alive,
        // and they are made references before anything else runs.
        let [file, line, column, end_line, end_column, text, message] = unsafe {
            [
                (*error).filename,
                (*error).lineno,
                (*error).offset,
                (*error).end_lineno,
                (*error).end_offset,
                (*error).text,
                (*error).msg,
            ]
            .map(|field| (!field.is_null()).then(|| Object::borrowed(self.py, field)))
        };
        let words = [
            self.text_field(file),
            self.number_field(line),
            self.number_field(column),
            self.number_field(end_line),
            self.number_field(end_column),
            self.text_field(text),
            self.message_field(message),
        ];
        Some(self.env.tuple(&words))
    }

    fn text_field(&mut self, field: Option<Object<'py>>) -> Word {
        // SAFETY: attached; reads the type of a live object.
        let text = field.filter(|text| unsafe { ffi::PyUnicode_Check(text.as_ptr()) } != 0);
        let head = text.and_then(|text| {
            let head = text::head(&text, text::TEXT);
            self.tolerate(head)
        });
        head.map_or(atoms().undefined, |head| self.env.binary(head.as_bytes()))
    }

    fn message_field(&mut self, field: Option<Object<'py>>) -> Word {
        // SAFETY: the address of an immortal object.
        let message = field.filter(|field| field.as_ptr() != unsafe { ffi::Py_None() });
        let text = message.and_then(|message| self.str(&message, text::TEXT));
        text.map_or(atoms().undefined, |text| self.env.binary(text.as_bytes()))
    }

    fn number_field(&self, field: Option<Object<'py>>) -> Word {
        let number = field.and_then(|number| {
            let mut overflow: c_int = 0;
            // SAFETY: attached; an int, which runs no code of users.
            unsafe {
                if ffi::PyLong_Check(number.as_ptr()) == 0 {
                    return None;
                }
                let value = ffi::PyLong_AsLongLongAndOverflow(number.as_ptr(), &mut overflow);
                (overflow == 0).then_some(value)
            }
        });
        number.map_or(atoms().undefined, |number| self.env.int(number))
    }
}
