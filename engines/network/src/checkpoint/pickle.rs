//! Pickle, read without executing anything: calls become data that the reader of state dicts interprets.
//!
//! Objects live in an arena and name each other by index, so that no nesting, however deep or cyclic, costs stack or more
//! memory than the bytes that made it.

use std::collections::HashMap;

/// Names an object in [`Pickle::objects`].
pub(super) type Id = usize;

/// One unpickled object; calls are kept as data.
#[derive(Debug, PartialEq)]
pub(super) enum Object {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// `module name` of something importable; never imported.
    Global(String),
    /// A reference to something outside the pickle, such as a tensor's storage.
    Persistent(Id),
    /// A call of a global with a tuple of arguments; never made.
    Call {
        function: Id,
        arguments: Id,
    },
}

/// Why a pickle was refused, with the byte at which it was.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("pickle, byte {at}: {reason}")]
pub(super) struct PickleError {
    at: usize,
    reason: String,
}

/// An unpickled tree.
#[derive(Debug)]
pub(super) struct Pickle {
    pub(super) objects: Vec<Object>,
    pub(super) root: Id,
}

impl Pickle {
    /// Reads a pickle of protocol 2 to 4 that uses no more than state dicts need.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, PickleError> {
        let mut machine = Machine { bytes, ..Machine::default() };
        loop {
            let at = machine.at;
            let failed = |reason| PickleError { at, reason };
            let opcode = machine.take(1).map_err(failed)?[0];
            if opcode == b'.' {
                let root = machine.pop().map_err(failed)?;
                return Ok(Pickle { objects: machine.objects, root });
            }
            machine.step(opcode).map_err(failed)?;
        }
    }
}

#[derive(Default)]
struct Machine<'b> {
    bytes: &'b [u8],
    at: usize,
    objects: Vec<Object>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

impl<'b> Machine<'b> {
    fn take(&mut self, count: usize) -> Result<&'b [u8], String> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let end = end
            .ok_or_else(|| format!("expected {count} more bytes, {} are left", self.bytes.len() - self.at))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn number(&mut self, width: usize) -> Result<u64, String> {
        Ok(self.take(width)?.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    /// A length of `width` bytes, and as many bytes as it says.
    fn counted(&mut self, width: usize) -> Result<&'b [u8], String> {
        let count = usize::try_from(self.number(width)?).map_err(|_| "a length beyond memory".to_owned())?;
        self.take(count)
    }

    fn text(&mut self, width: usize) -> Result<(), String> {
        let bytes = self.counted(width)?;
        let text = std::str::from_utf8(bytes).map_err(|error| format!("text that is not UTF-8: {error}"))?;
        self.push(Object::Text(text.to_owned()));
        Ok(())
    }

    fn line(&mut self) -> Result<&'b str, String> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| *byte == b'\n').ok_or("a line without an end")?;
        let line = &self.take(length + 1)?[..length];
        std::str::from_utf8(line).map_err(|error| format!("a name that is not UTF-8: {error}"))
    }

    fn push(&mut self, object: Object) {
        self.stack.push(self.objects.len());
        self.objects.push(object);
    }

    fn pop(&mut self) -> Result<Id, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err("an empty stack".to_owned());
        }
        self.stack.pop().ok_or_else(|| "an empty stack".to_owned())
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().ok_or("no mark")?;
        Ok(self.stack.split_off(mark))
    }

    fn pop_tuple(&mut self, count: usize) -> Result<(), String> {
        let mut items = (0..count).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        items.reverse();
        self.push(Object::Tuple(items));
        Ok(())
    }

    fn top(&mut self) -> Result<&mut Object, String> {
        let top = *self.stack.last().ok_or("an empty stack")?;
        Ok(&mut self.objects[top])
    }

    fn append(&mut self, items: Vec<Id>) -> Result<(), String> {
        match self.top()? {
            Object::List(list) => list.extend(items),
            _ => return Err("expected a list to append to".to_owned()),
        }
        Ok(())
    }

    fn set_items(&mut self, items: Vec<Id>) -> Result<(), String> {
        let Object::Dict(dict) = self.top()? else {
            return Err("expected a dict to set items of".to_owned());
        };
        let (pairs, rest) = items.as_chunks::<2>();
        dict.extend(pairs.iter().map(|[key, value]| (*key, *value)));
        if rest.is_empty() { Ok(()) } else { Err("a key without a value".to_owned()) }
    }

    fn remember(&mut self, slot: u64) -> Result<(), String> {
        let top = *self.stack.last().ok_or("nothing to remember")?;
        self.memo.insert(slot, top);
        Ok(())
    }

    fn recall(&mut self, slot: u64) -> Result<(), String> {
        let id = *self.memo.get(&slot).ok_or_else(|| format!("nothing was remembered as {slot}"))?;
        self.stack.push(id);
        Ok(())
    }

    /// `OrderedDict()` is a dict; every other call is kept as it stands.
    fn reduce(&mut self) -> Result<(), String> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let ordered =
            matches!(&self.objects[function], Object::Global(name) if name == "collections OrderedDict");
        let no_arguments = matches!(&self.objects[arguments], Object::Tuple(items) if items.is_empty());
        let call = Object::Call { function, arguments };
        self.push(if ordered && no_arguments { Object::Dict(Vec::new()) } else { call });
        Ok(())
    }

    fn stack_global(&mut self) -> Result<(), String> {
        let (name, module) = (self.pop()?, self.pop()?);
        match (&self.objects[module], &self.objects[name]) {
            (Object::Text(module), Object::Text(name)) => {
                let global = format!("{module} {name}");
                self.push(Object::Global(global));
                Ok(())
            }
            _ => Err("a global whose name is not text".to_owned()),
        }
    }

    fn long(&mut self) -> Result<(), String> {
        let bytes = self.counted(1)?;
        if bytes.len() > 8 {
            return Err(format!("an integer of {} bytes", bytes.len()));
        }
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let fill = if negative { 0xff } else { 0 };
        let eight = std::array::from_fn(|i| bytes.get(i).copied().unwrap_or(fill));
        self.push(Object::Int(i64::from_le_bytes(eight)));
        Ok(())
    }

    fn float(&mut self) -> Result<(), String> {
        let bits = self.take(8)?.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
        self.push(Object::Float(f64::from_bits(bits)));
        Ok(())
    }

    fn step(&mut self, opcode: u8) -> Result<(), String> {
        match opcode {
            b'N' | 0x88 | 0x89 | b')' | b']' | b'}' => self.push(match opcode {
                b'N' => Object::None,
                b')' => Object::Tuple(Vec::new()),
                b']' => Object::List(Vec::new()),
                b'}' => Object::Dict(Vec::new()),
                _ => Object::Bool(opcode == 0x88),
            }),
            b'K' | b'M' | b'J' => self.integer(opcode)?,
            0x8a => self.long()?,
            b'G' => self.float()?,
            b'X' => self.text(4)?,
            0x8c => self.text(1)?,
            0x8d => self.text(8)?,
            b'B' | b'C' | 0x8e => self.binary(opcode)?,
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Object::Global(format!("{module} {name}")));
            }
            0x93 => self.stack_global()?,
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'2' => self.stack.push(*self.stack.last().ok_or("an empty stack")?),
            b'q' | b'r' | 0x94 | b'h' | b'j' => self.memory(opcode)?,
            _ => self.compose(opcode)?,
        }
        Ok(())
    }

    fn integer(&mut self, opcode: u8) -> Result<(), String> {
        let value = match opcode {
            b'K' => self.number(1)?.cast_signed(),
            b'M' => self.number(2)?.cast_signed(),
            _ => i64::from((self.number(4)? as u32).cast_signed()),
        };
        self.push(Object::Int(value));
        Ok(())
    }

    fn binary(&mut self, opcode: u8) -> Result<(), String> {
        let width = match opcode {
            b'C' => 1,
            b'B' => 4,
            _ => 8,
        };
        let bytes = self.counted(width)?.to_vec();
        self.push(Object::Bytes(bytes));
        Ok(())
    }

    fn memory(&mut self, opcode: u8) -> Result<(), String> {
        match opcode {
            b'q' | b'r' => {
                let slot = self.number(if opcode == b'q' { 1 } else { 4 })?;
                self.remember(slot)
            }
            0x94 => self.remember(self.memo.len() as u64),
            _ => {
                let slot = self.number(if opcode == b'h' { 1 } else { 4 })?;
                self.recall(slot)
            }
        }
    }

    /// Opcodes that make something of what lies on the stack, and the frame marks.
    fn compose(&mut self, opcode: u8) -> Result<(), String> {
        match opcode {
            0x80 => match self.number(1)? {
                2..=4 => Ok(()),
                other => Err(format!("expected protocol 2 to 4, got {other}")),
            },
            0x95 => self.number(8).map(drop),
            0x85..=0x87 => self.pop_tuple(usize::from(opcode - 0x84)),
            b't' => {
                let items = self.pop_to_mark()?;
                self.push(Object::Tuple(items));
                Ok(())
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                self.append(items)
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(vec![key, value])
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.set_items(items)
            }
            b'Q' => {
                let id = self.pop()?;
                self.push(Object::Persistent(id));
                Ok(())
            }
            b'R' | 0x81 => self.reduce(),
            // The state that BUILD would give an object (a state dict's `_metadata`) is of no use here.
            b'b' => self.pop().map(drop),
            other => Err(format!("opcode 0x{other:02x} has no place in a state dict")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `pickle.dumps({"a": [1, -2, 1.5, None, True], "b": (1, 70000)}, protocol=P)`, CPython 3.11.
    #[test]
    fn reads_what_python_writes() {
        let two = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xfe\xff\xff\xffG?\xf8\x00\x00\x00\x00\x00\x00N\x88eX\x01\x00\x00\x00bq\x03K\x01Jp\x11\x01\x00\x86q\x04u.";
        let pickle = Pickle::parse(two).unwrap();
        let Object::Dict(items) = &pickle.objects[pickle.root] else { panic!("{pickle:?}") };
        let Object::List(list) = &pickle.objects[items[0].1] else { panic!("{pickle:?}") };
        let list: Vec<_> = list.iter().map(|id| &pickle.objects[*id]).collect();
        let expected =
            [Object::Int(1), Object::Int(-2), Object::Float(1.5), Object::None, Object::Bool(true)];
        assert_eq!(list, expected.iter().collect::<Vec<_>>());
        let Object::Tuple(tuple) = &pickle.objects[items[1].1] else { panic!("{pickle:?}") };
        assert_eq!(pickle.objects[tuple[1]], Object::Int(70000));
    }

    #[test]
    fn calls_are_data() {
        let evil = b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.";
        let pickle = Pickle::parse(evil).unwrap();
        let Object::Call { function, .. } = &pickle.objects[pickle.root] else { panic!("{pickle:?}") };
        assert_eq!(pickle.objects[*function], Object::Global("os system".to_owned()));
    }

    #[test]
    fn hostile_pickles_are_refused() {
        let cases: &[(&[u8], &str)] = &[
            (b"", "more bytes"),
            (b"\x80\x05.", "protocol"),
            (b"\x80\x02.", "empty stack"),
            (b"X\xff\xff\xff\xff", "more bytes"),
            (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff", "more bytes"),
            (b"h\x07.", "remembered"),
            (b"(R.", "empty stack"),
            (b"t.", "no mark"),
            (b"K\x01K\x02a.", "list"),
            (b"\x8a\x09123456789.", "integer"),
            (b"i", "no place"),
            (b"cos", "line"),
        ];
        for (bytes, reason) in cases {
            let error = Pickle::parse(bytes).unwrap_err().to_string();
            assert!(error.contains(reason), "{bytes:?}: {error}");
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let mut deep = vec![b'N'; 1];
        deep.extend(std::iter::repeat_n(0x85, 3_000_000));
        deep.push(b'.');
        assert!(Pickle::parse(&deep).is_ok());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Pickle::parse(&bytes);
        }

        #[test]
        fn arbitrary_opcodes_never_panic(
            bytes in proptest::collection::vec(proptest::sample::select(&b"N(0]})tae2su\x85\x86\x87\x88K\x01q\x00h\x00R\x81bQ\x94."[..]), 0..200)
        ) {
            let _ = Pickle::parse(&bytes);
        }
    }
}
