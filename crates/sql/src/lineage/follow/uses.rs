//! What may be done with a masked column besides giving it back.

use super::{Follow, Followed, Mode};
use crate::lineage::{
    ir::{How, Use, Via},
    refusal::{Stop, Why},
    scope::{Columns, Found, Scope, Tag},
};

impl<'a> Follow<'a> {
    /// Uses outside of a view's output; what a view's owner compares there is the owner's business.
    pub(super) fn uses(&mut self, uses: &'a [Use], scope: &Scope<'_, 'a>) -> Followed<'a, ()> {
        match self.mode {
            Mode::Judge => self.computed_from(uses, scope).map(|_| ()),
            Mode::Derive => Ok(()),
        }
    }

    /// What is masked in a value computed from these.
    pub(super) fn computed_from(
        &mut self,
        uses: &'a [Use],
        scope: &Scope<'_, 'a>,
    ) -> Followed<'a, Option<Tag<'a>>> {
        let mut all: Option<Tag<'a>> = None;
        for one in uses {
            if let Some(tag) = self.used(one, scope)? {
                all = Some(tag.or(all));
            }
        }
        Ok(all)
    }

    fn used(&mut self, one: &'a Use, scope: &Scope<'_, 'a>) -> Followed<'a, Option<Tag<'a>>> {
        match one {
            Use::Column { column, how } => match self.find(column, scope)? {
                Found::Column(tag, _) => self.put_to(how, tag, false),
                Found::Row(tag) => self.put_to(how, tag, true),
            },
            Use::Row { of, how } => {
                let columns = self.star(of, scope)?;
                self.put_to(how, columns.masked(), true)
            }
            Use::Query { query, how } => {
                let columns = self.query(query, scope)?;
                let mut all: Option<Tag<'a>> = None;
                for column in &columns.columns {
                    if let Some(tag) = self.put_to(how, column.tag, false)? {
                        all = Some(tag.or(all));
                    }
                }
                Ok(all)
            }
        }
    }

    /// One column or row, put to one use.
    fn put_to(&mut self, how: &How, tag: Option<Tag<'a>>, row: bool) -> Followed<'a, Option<Tag<'a>>> {
        let why = if row { Why::Row } else { Why::Computed };
        let Some(tag) = tag else { return Ok(None) };
        match how {
            How::Ignored => Ok(None),
            How::Counted(name) if self.relations.is_servers_own(name) => Ok(None),
            How::Compared(via) if !row && self.mode == Mode::Judge => {
                self.compared(Some(tag), via)?;
                Ok(None)
            }
            How::Written if !row => self.computed(Some(tag), Why::Written),
            How::Counted(_) | How::Compared(_) | How::Written | How::Computed => {
                self.computed(Some(tag), why)
            }
        }
    }

    /// A column given back as it is.
    pub(super) fn shown(&self, tag: Option<Tag<'a>>) -> Followed<'a, ()> {
        match tag {
            Some(tag) if tag.merged && self.mode == Mode::Judge => Err(Stop::Refused(tag, Why::Merged)),
            _ => Ok(()),
        }
    }

    /// Some value is made of it: refused, or hidden as a whole in a view.
    pub(super) fn computed(&self, tag: Option<Tag<'a>>, why: Why) -> Followed<'a, Option<Tag<'a>>> {
        match (tag, self.mode) {
            (Some(tag), Mode::Judge) => Err(Stop::Refused(tag, why)),
            (tag, _) => Ok(tag.map(Tag::computed)),
        }
    }

    /// It is compared, sorted or grouped by.
    pub(super) fn compared(&self, tag: Option<Tag<'a>>, via: &[Via]) -> Followed<'a, ()> {
        let (Some(tag), Mode::Judge) = (tag, self.mode) else { return Ok(()) };
        if tag.merged {
            return Err(Stop::Refused(tag, Why::Merged));
        }
        if !tag.comparable {
            let rule = self.relations.masks.rules.get(usize::from(tag.rule));
            let allowed = rule.is_some_and(|rule| rule.filter_allowed);
            let why = if allowed { Why::ComparedWhole } else { Why::Compared };
            return Err(Stop::Refused(tag, why));
        }
        let owned = via.iter().all(|via| match via {
            Via::Operator(name) => self.relations.is_servers_own_operator(name),
            Via::Function(name) => self.relations.is_servers_own(name),
        });
        if owned { Ok(()) } else { Err(Stop::Refused(tag, Why::ComparedByUsers)) }
    }

    pub(super) fn all_compared(&self, columns: &Columns<'a>) -> Followed<'a, ()> {
        columns.columns.iter().try_for_each(|column| self.compared(column.tag, &[]))
    }

    /// Rows that go to a table.
    pub(super) fn all_written(&self, columns: &Columns<'a>) -> Followed<'a, ()> {
        match (columns.masked(), self.mode) {
            (Some(tag), Mode::Judge) => Err(Stop::Refused(tag, Why::Written)),
            _ => Ok(()),
        }
    }
}
