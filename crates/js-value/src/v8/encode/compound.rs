//! Values that contain others: arrays, objects, maps, sets, errors.

use super::{Done, Encoder};
use crate::object::array_index;
use crate::v8::tag;
use crate::{JsError, Object, SparseArray, Value, refs};

impl Encoder {
    pub(super) fn array(&mut self, elements: &[Value]) -> Done {
        self.byte(tag::DENSE_ARRAY);
        self.length(elements.len(), "array")?;
        for element in elements {
            self.value(element)?;
        }
        self.byte(tag::DENSE_ARRAY_END);
        self.byte(0);
        self.length(elements.len(), "array")
    }

    pub(super) fn sparse_array(&mut self, array: &SparseArray) -> Done {
        let dense = array.is_dense();
        let (begin, end) = if dense {
            (tag::DENSE_ARRAY, tag::DENSE_ARRAY_END)
        } else {
            (tag::SPARSE_ARRAY, tag::SPARSE_ARRAY_END)
        };
        self.byte(begin);
        self.varint(array.length());
        for (index, value) in array.elements() {
            if !dense {
                self.number(f64::from(*index));
            }
            self.value(value)?;
        }
        self.properties(&array.properties)?;
        self.byte(end);
        let written = if dense { 0 } else { array.elements().len() };
        self.length(written + array.properties.len(), "array")?;
        self.varint(array.length());
        Ok(())
    }

    pub(super) fn object(&mut self, object: &Object) -> Done {
        self.byte(tag::OBJECT);
        self.properties(object)?;
        self.byte(tag::OBJECT_END);
        self.length(object.len(), "object")
    }

    pub(super) fn properties(&mut self, object: &Object) -> Done {
        for (name, value) in object {
            match array_index(name) {
                Some(index) => self.number(f64::from(index)),
                None => self.string(name)?,
            }
            self.value(value)?;
        }
        Ok(())
    }

    pub(super) fn map(&mut self, entries: &[(Value, Value)]) -> Done {
        self.byte(tag::MAP);
        for (key, value) in entries {
            self.value(key)?;
            self.value(value)?;
        }
        self.byte(tag::MAP_END);
        self.length(entries.len().saturating_mul(2), "Map")
    }

    pub(super) fn set(&mut self, elements: &[Value]) -> Done {
        self.byte(tag::SET);
        for element in elements {
            self.value(element)?;
        }
        self.byte(tag::SET_END);
        self.length(elements.len(), "Set")
    }

    pub(super) fn plain_error(&mut self, error: &JsError) -> Done {
        self.byte(tag::ERROR);
        let class = tag::error::CLASSES
            .iter()
            .find(|(_, name)| *name == error.name);
        if let Some((class, _)) = class {
            self.byte(*class);
        }
        if !error.message.is_empty() {
            self.byte(tag::error::MESSAGE);
            self.text(&error.message)?;
        }
        if let Some(cause) = &error.cause {
            self.byte(tag::error::CAUSE);
            self.value(cause)?;
        }
        if let Some(stack) = &error.stack {
            self.byte(tag::error::STACK);
            self.text(stack)?;
        }
        self.byte(tag::error::END);
        let lost: u32 = error.properties.values().map(refs::count).sum();
        if lost > 0 {
            self.run(false);
            self.objects += lost;
            self.run(true);
        }
        Ok(())
    }

    /// A `DOMException` has no place for own properties; one that has some is written as another error.
    fn dom_exception(&mut self, name: &str, error: &JsError) -> Done {
        self.byte(tag::HOST_OBJECT);
        self.varint(tag::host::DOM_EXCEPTION);
        for text in [name, &error.message, error.stack.as_deref().unwrap_or("")] {
            self.host_text(text)?;
        }
        Ok(())
    }

    pub(super) fn native_error(&mut self, error: &JsError) -> Done {
        let name = error.name.strip_prefix("DOMException(");
        if let Some(name) = name.and_then(|name| name.strip_suffix(')'))
            && error.properties.is_empty()
            && error.cause.is_none()
        {
            return self.dom_exception(name, error);
        }
        self.byte(tag::HOST_OBJECT);
        self.varint(tag::host::ERROR);
        let class = tag::host::CLASSES
            .iter()
            .find(|(_, name)| *name == error.name);
        match class {
            Some((class, _)) if !tag::host::WASM_CLASSES.contains(class) => self.varint(*class),
            _ => {
                self.varint(tag::host::OTHER_CLASS);
                self.text(&error.name)?;
            }
        }
        self.text(&error.message)?;
        self.byte(tag::OBJECT);
        self.wire_objects += 1; // the bag of properties, which is no object of ours
        self.run(true);
        let mut written = error.properties.len();
        if let Some(stack) = &error.stack {
            self.text("stack")?;
            self.text(stack)?;
            written += 1;
        }
        if let Some(cause) = &error.cause {
            self.text("cause")?;
            self.value(cause)?;
            written += 1;
        }
        self.properties(&error.properties)?;
        self.byte(tag::OBJECT_END);
        self.length(written, "object")
    }
}
