//! A quick look at the messages that make up nearly all of the traffic: calls and returns without
//! capabilities, finishes, releases. [`shape`](super::shape) judges everything, and whatever is in the
//! least unusual is left to it; this says the same of the usual for a tenth of the work.
//!
//! It reads the words themselves (<https://capnproto.org/encoding.html>): pointers within the first
//! segment only, and structs at least as large as we know them.

use super::shape::{Class, Outcome, Shape, Target};

const CALL: u16 = 2;
const RETURN: u16 = 3;
const FINISH: u16 = 4;
const RELEASE: u16 = 6;

/// What the message in this segment is, if it is as usual.
pub(in crate::network) fn glance(segment: &[u8]) -> Option<Shape<'static>> {
    let words = Words(segment);
    let message = words.structure(0, 1, 1)?;
    let kind = words.at(message.data)? as u16;
    match kind {
        CALL => call(&words, words.structure(message.pointers, 3, 2)?),
        RETURN => returned(&words, words.structure(message.pointers, 1, 1)?),
        FINISH => {
            let it = words.at(words.structure(message.pointers, 1, 0)?.data)?;
            Some(Shape::Finish {
                question: it as u32,
                // True is the default, and written as zero.
                release: it >> 32 & 1 == 0,
            })
        }
        RELEASE => {
            let it = words.at(words.structure(message.pointers, 1, 0)?.data)?;
            Some(Shape::Release {
                id: it as u32,
                count: (it >> 32) as u32,
            })
        }
        _ => None,
    }
}

fn call(words: &Words<'_>, it: Struct) -> Option<Shape<'static>> {
    let data = words.at(it.data)?;
    let results_go_to_the_caller = data >> 48 == 0;
    let target = target(words, words.structure(it.pointers, 1, 1)?)?;
    let payload = words.structure(it.pointers + 1, 0, 2)?;
    let usual = results_go_to_the_caller && words.no_list(payload.pointers + 1)?;
    let interface = words.at(it.data + 1)?;
    usual.then(|| Shape::Call {
        question: data as u32,
        target,
        class: Class::of(interface, (data >> 32) as u16),
        elsewhere: false,
    })
}

fn target(words: &Words<'_>, it: Struct) -> Option<Target> {
    let data = words.at(it.data)?;
    match data >> 32 & 0xffff {
        0 => Some(Target::Export(data as u32)),
        1 => {
            let answer = words.structure(it.pointers, 1, 1)?;
            let question = words.at(answer.data)? as u32;
            words
                .few_steps(answer.pointers)?
                .then_some(Target::Answer(question))
        }
        _ => None,
    }
}

fn returned(words: &Words<'_>, it: Struct) -> Option<Shape<'static>> {
    let data = words.at(it.data)?;
    let results = data >> 48 == 0;
    let payload = words.structure(it.pointers, 0, 2)?;
    (results && words.no_list(payload.pointers + 1)?).then_some(Shape::Return {
        answer: data as u32,
        no_finish: data >> 33 & 1 == 1,
        outcome: Outcome::Results,
    })
}

struct Words<'a>(&'a [u8]);

/// Where a struct's data and pointers begin.
struct Struct {
    data: usize,
    pointers: usize,
}

impl Words<'_> {
    fn at(&self, index: usize) -> Option<u64> {
        let bytes = self.0.get(index * 8..index * 8 + 8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }

    /// Where the pointer at `index`, which is this word, leads.
    fn target(&self, index: usize, word: u64) -> Option<usize> {
        let offset = (word as u32 as i32 >> 2) as isize;
        (index + 1).checked_add_signed(offset)
    }

    /// The struct that the pointer at `index` leads to, if it is at least of this size.
    fn structure(&self, index: usize, data: u64, pointers: u64) -> Option<Struct> {
        let word = self.at(index)?;
        let (has_data, has_pointers) = (word >> 32 & 0xffff, word >> 48);
        if word & 3 != 0
            || has_data < data
            || has_pointers < pointers
            || has_data + has_pointers == 0
        {
            return None;
        }
        let start = self.target(index, word)?;
        let end = start + (has_data + has_pointers) as usize;
        (end <= self.0.len() / 8).then_some(Struct {
            data: start,
            pointers: start + has_data as usize,
        })
    }

    /// Whether the pointer at `index` is null, or leads to a list of at most two steps: structs of one
    /// word, of a kind that there is.
    fn few_steps(&self, index: usize) -> Option<bool> {
        let word = self.at(index)?;
        if word == 0 {
            return Some(true);
        }
        let words = word >> 35;
        let start = self.target(index, word)?;
        let tag = self.at(start)?;
        let one_word_each = word & 3 == 1 && word >> 32 & 7 == 7 && tag == words << 2 | 1 << 32;
        if !one_word_each || words > 2 {
            return Some(false);
        }
        for step in 0..words as usize {
            if self.at(start + 1 + step)? & 0xffff > 1 {
                return Some(false);
            }
        }
        Some(true)
    }

    /// Whether the pointer at `index` is null, or leads to a list of structs without an element.
    fn no_list(&self, index: usize) -> Option<bool> {
        let word = self.at(index)?;
        if word == 0 {
            return Some(true);
        }
        // A list of structs of no words: the word before it tells how many there are.
        let empty = word & 3 == 1 && word >> 32 == 7;
        let tag = self.at(self.target(index, word)?)?;
        Some(empty && tag as u32 == 0)
    }
}

#[cfg(test)]
mod tests {
    use capnp::message::Builder;
    use capnp_rpc::rpc_capnp::message;

    use super::*;

    fn written(fill: impl FnOnce(message::Builder<'_>)) -> Vec<u8> {
        let mut message = Builder::new_default();
        fill(message.init_root());
        message.get_segments_for_output()[0].to_vec()
    }

    #[test]
    fn usual_messages_are_understood() {
        let call = written(|m| {
            let mut it = m.init_call();
            it.set_question_id(7);
            it.reborrow().init_target().set_imported_cap(9);
            it.init_params().init_cap_table(0);
        });
        let Some(Shape::Call {
            question: 7,
            target: Target::Export(9),
            class: Class::Other,
            elsewhere: false,
        }) = glance(&call)
        else {
            panic!("a call");
        };
        let pipelined = written(|m| {
            let mut it = m.init_call();
            it.set_question_id(7);
            let mut answer = it.reborrow().init_target().init_promised_answer();
            answer.set_question_id(9);
            answer.init_transform(1).get(0).set_get_pointer_field(3);
            it.init_params();
        });
        assert!(matches!(
            glance(&pipelined),
            Some(Shape::Call {
                question: 7,
                target: Target::Answer(9),
                class: Class::Other,
                elsewhere: false,
            })
        ));
        for (interface, method, class) in [
            (0xee2e_b0d2_e1aa_d430, 0, Class::Place),
            (0xee2e_b0d2_e1aa_d430, 1, Class::Other),
            (0xd2e7_d8a0_dc0a_9766, 0, Class::Stream),
            (0xd2e7_d8a0_dc0a_9766, 2, Class::Place),
        ] {
            let call = written(|m| {
                let mut it = m.init_call();
                it.set_question_id(7);
                it.set_interface_id(interface);
                it.set_method_id(method);
                it.reborrow().init_target().set_imported_cap(9);
                it.init_params();
            });
            let Some(Shape::Call { class: seen, .. }) = glance(&call) else {
                panic!("a call");
            };
            assert_eq!(seen, class);
        }
        let returned = written(|m| {
            let mut it = m.init_return();
            it.set_answer_id(7);
            it.set_no_finish_needed(true);
            it.init_results();
        });
        let Some(Shape::Return {
            answer: 7,
            no_finish: true,
            outcome: Outcome::Results,
        }) = glance(&returned)
        else {
            panic!("a return");
        };
        for release in [true, false] {
            let finish = written(|m| {
                let mut it = m.init_finish();
                it.set_question_id(7);
                it.set_release_result_caps(release);
            });
            let Some(Shape::Finish {
                question: 7,
                release: seen,
            }) = glance(&finish)
            else {
                panic!("a finish");
            };
            assert_eq!(seen, release);
        }
        let release = written(|m| {
            let mut it = m.init_release();
            it.set_id(7);
            it.set_reference_count(2);
        });
        assert!(matches!(
            glance(&release),
            Some(Shape::Release { id: 7, count: 2 })
        ));
    }

    #[test]
    fn unusual_messages_are_left_to_the_judge() {
        let cases = [
            written(|m| m.init_abort().set_reason("no")),
            written(|m| {
                let mut it = m.init_call();
                it.reborrow().get_send_results_to().set_yourself(());
                it.reborrow().init_target().set_imported_cap(9);
                it.init_params();
            }),
            written(|m| {
                let mut it = m.init_call();
                let answer = it.reborrow().init_target().init_promised_answer();
                answer.init_transform(3);
                it.init_params();
            }),
            written(|m| {
                let mut it = m.init_call();
                it.reborrow().init_target().set_imported_cap(9);
                it.init_params().init_cap_table(1);
            }),
            written(|m| {
                m.init_return().init_results().init_cap_table(1);
            }),
            written(|m| m.init_return().init_exception().set_reason("no")),
            written(|m| {
                m.init_call();
            }),
            vec![0; 64],
            vec![0xff; 64],
            Vec::new(),
        ];
        for (i, case) in cases.iter().enumerate() {
            assert!(glance(case).is_none(), "{i}");
            for cut in 0..case.len() {
                assert!(glance(&case[..cut]).is_none(), "{i} cut at {cut}");
            }
        }
    }
}
