//! Takes values out of a parsed file, or puts one in the place of another, by where they stand in the text.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// Takes out the innermost entry whose key or value has this span, and says out of what.
pub(super) fn take_from_table(
    table: &mut DeTable<'_>,
    own: Range<usize>,
    span: &Range<usize>,
) -> Option<Range<usize>> {
    let mut taken = None;
    for (key, value) in table.iter_mut() {
        if key.span() == *span {
            taken = Some(key.get_ref().clone().into_owned());
            break;
        }
        if let Some(from) = take_from_value(value, span) {
            return Some(from);
        }
        if value.span() == *span {
            taken = Some(key.get_ref().clone().into_owned());
            break;
        }
    }
    table.remove(taken?.as_str()).map(|_| own)
}

fn take_from_value(value: &mut Spanned<DeValue<'_>>, span: &Range<usize>) -> Option<Range<usize>> {
    let own = value.span();
    match value.get_mut() {
        DeValue::Table(table) => take_from_table(table, own, span),
        DeValue::Array(array) => {
            let mut taken = None;
            for (index, element) in array.iter_mut().enumerate() {
                if let Some(from) = take_from_value(element, span) {
                    return Some(from);
                }
                if element.span() == *span {
                    taken = Some(index);
                    break;
                }
            }
            let taken = taken?;
            let mut index = 0;
            let kept = std::mem::replace(array, DeArray::new())
                .into_iter()
                .filter(|_| {
                    index += 1;
                    index - 1 != taken
                });
            *array = kept.collect();
            Some(own)
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => None,
    }
}

/// Puts a text that is no choice anywhere in the place of the value with this span.
pub(super) fn put_in_table(table: &mut DeTable<'_>, span: &Range<usize>) {
    for (_, value) in table.iter_mut() {
        put_in_value(value, span);
    }
}

fn put_in_value(value: &mut Spanned<DeValue<'_>>, span: &Range<usize>) {
    if value.span() == *span {
        *value.get_mut() = DeValue::String("".into());
        return;
    }
    match value.get_mut() {
        DeValue::Table(table) => put_in_table(table, span),
        DeValue::Array(array) => {
            for element in array.iter_mut() {
                put_in_value(element, span);
            }
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => {}
    }
}
