//! Journal, leaf hashes and checkpoints in lockstep, from the first event to the last, up to the first that is broken.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use portcullis_core::AuditEvent;

use super::{
    Cause, Finding, Progress, Report, What,
    checkpoints::Notes,
    diagnose::Place,
    recordings::Outcome,
    segment::{Frame, Segment},
    show,
};
use crate::{
    Error, Hash, SignedCheckpoint,
    format::{FRAME_HEADER_LEN, HEADER_LEN},
    proof::{self, Span, block_path, blocks_path, spans_path},
    reader::{segment_path, segments},
    tree::{BLOCK_LEAVES, Tree},
};

/// What also leaves a proof that is ahead of what it proves.
const COPIED: &str = "this is a copy taken while the gateway ran, with checkpoints younger than its";

pub(super) struct Pass {
    journal: PathBuf,
    notes: Notes,
    /// The next checkpoint to compare with.
    next: Option<(u64, Hash)>,
    kept: BTreeMap<u64, Vec<Hash>>,
    /// How many leaf hashes were there before the journal was read.
    leaf_count: u64,
    blocks: Vec<Hash>,
    spans: HashMap<u64, Span>,
    block: (u64, Vec<Hash>),
    tree: Tree,
    /// Where the events begin that the last good comparison does not cover.
    compared: u64,
    scratch: Vec<u8>,
    outcome: Outcome,
    /// Events that a signed retention event says were deleted: those below it.
    retained: u64,
    /// Whether the event before says that a gateway stopped.
    after_stop: bool,
    /// Whether the journal was read to its end.
    ended: bool,
}

/// Why the pass ends early.
enum Stop {
    Broken(Box<Finding>),
    Cannot(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Cannot(error)
    }
}

impl From<Finding> for Stop {
    fn from(finding: Finding) -> Self {
        Self::Broken(Box::new(finding))
    }
}

impl Pass {
    pub(super) fn new(journal: &Path, mut notes: Notes, kept: &[SignedCheckpoint]) -> Result<Self, Error> {
        let mut targets: BTreeMap<u64, Vec<Hash>> = BTreeMap::new();
        for one in kept {
            targets.entry(one.size()).or_default().push(one.checkpoint().root);
        }
        Ok(Self {
            next: notes.next()?,
            notes,
            kept: targets,
            spans: HashMap::new(),
            blocks: proof::read_blocks(journal)?,
            leaf_count: proof::count_leaves(journal)?,
            block: (u64::MAX, Vec::new()),
            tree: Tree::default(),
            compared: 0,
            scratch: Vec::new(),
            outcome: Outcome::default(),
            retained: 0,
            after_stop: false,
            ended: false,
            journal: journal.to_owned(),
        })
    }

    pub(super) fn run(
        mut self,
        report: &mut Report,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Outcome, Error> {
        let numbers = segments(&self.journal)?;
        let first = match numbers.first() {
            Some(number) => Segment::read(&self.journal, *number)?
                .and_then(|segment| segment.header().ok())
                .map_or(0, |header| header.first_sequence),
            None => 0,
        };
        self.read_spans(report)?;
        let stopped = match self.steps(&numbers, first, report, progress) {
            Ok(()) => false,
            Err(Stop::Cannot(error)) => return Err(error),
            Err(Stop::Broken(finding)) => {
                // At the end of what is there: nothing was left unread.
                let all_read = self.ended && finding.what == What::RolledBack;
                // Before what is wrong with checkpoints: an event says more.
                report.findings.insert(0, *finding);
                !all_read
            }
        };
        report.stopped = stopped;
        report.deleted = first;
        report.uncovered = self.tree.size().saturating_sub(report.covered);
        if first > self.retained {
            let text = format!(
                "the events before {first} are gone with their segments, and no signed retention event {}",
                if stopped { "up to the broken one says so" } else { "says so" }
            );
            let number = numbers.first().map_or(0, |number| number.saturating_sub(1));
            let finding =
                Finding::new(What::Missing, Cause::Intent, segment_path(&self.journal, number), text)
                    .event(self.retained);
            report.findings.insert(0, finding);
        }
        self.outcome.complete = !stopped;
        Ok(self.outcome)
    }

    fn read_spans(&mut self, report: &mut Report) -> Result<(), Error> {
        let path = spans_path(&self.journal);
        for (number, span) in Span::read(&self.journal)?.into_iter().enumerate() {
            match span {
                Some(span) => drop(self.spans.insert(span.segment, span)),
                None => {
                    let text = format!(
                        "record {number} of the closed segments is damaged; it only spares reading at a start"
                    );
                    report.findings.push(Finding::new(What::Altered, Cause::Accident, &path, text));
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn steps(
        &mut self,
        numbers: &[u64],
        first: u64,
        report: &mut Report,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), Stop> {
        self.compare_roots()?;
        for sequence in 0..first {
            let Some(leaf) = self.stored(sequence)? else { return Err(self.leaf_missing(sequence).into()) };
            self.push(leaf)?;
        }
        let total = numbers
            .iter()
            .map(|number| proof::length(&segment_path(&self.journal, *number)))
            .sum::<Result<u64, Error>>()?;
        let mut done = 0;
        let mut previous: Option<Segment> = None;
        for (at, number) in numbers.iter().enumerate() {
            let segment = self.open(*number, previous.as_ref())?;
            let last = at + 1 == numbers.len();
            if segment.bytes.len() < HEADER_LEN && last {
                let text = format!("{} is being made: its header is not whole", show(&segment.path));
                report.notes.push(text);
                break;
            }
            self.check_header(&segment, previous.as_ref())?;
            previous.as_ref().map_or(Ok(()), |closed| self.check_span(closed))?;
            self.walk(&segment, last, report)?;
            report.segments += 1;
            done += segment.bytes.len() as u64;
            progress(Progress { done, total });
            previous = Some(segment);
        }
        self.end(previous.as_ref())?;
        Ok(())
    }

    fn open(&mut self, number: u64, previous: Option<&Segment>) -> Result<Segment, Stop> {
        if let Some(before) = previous.filter(|before| before.number + 1 != number) {
            let missing = before.number + 1;
            let gone = match number - missing {
                1 => format!("segment {missing} is"),
                _ => format!("segments {missing} to {} are", number - 1),
            };
            let text = format!("{gone} gone, with event {} and others", self.tree.size());
            let path = segment_path(&self.journal, missing);
            let finding = Finding::new(What::Missing, Cause::Intent, path, text).event(self.tree.size());
            return Err(finding.into());
        }
        let Some(segment) = Segment::read(&self.journal, number)? else {
            let text = "the file is far longer than any segment";
            let path = segment_path(&self.journal, number);
            return Err(Finding::new(What::Altered, Cause::Intent, path, text)
                .event(self.tree.size())
                .into());
        };
        Ok(segment)
    }

    fn check_header(&self, segment: &Segment, previous: Option<&Segment>) -> Result<(), Finding> {
        let here = self.tree.size();
        let broken =
            |what, cause, text: String| Err(Finding::new(what, cause, &segment.path, text).at(0).event(here));
        let header = match segment.header() {
            Ok(header) => header,
            Err(fault) => {
                return broken(What::Altered, Cause::Accident, format!("the segment's header: {fault}"));
            }
        };
        if header.number != segment.number {
            let text = format!("the file holds segment {}, not {}", header.number, segment.number);
            let there = segment_path(&self.journal, header.number).exists();
            let what = if there { What::Duplicated } else { What::Reordered };
            return broken(what, Cause::Intent, text);
        }
        if header.previous != header.number.saturating_sub(1) {
            return broken(
                What::Altered,
                Cause::Intent,
                "the header names another segment before it".to_owned(),
            );
        }
        let first = header.first_sequence;
        if first < here {
            let text = format!("the segment starts at event {first}, which the one before it holds already");
            return broken(What::Duplicated, Cause::Intent, text);
        }
        if let Some(previous) = previous.filter(|_| first > here) {
            let gone = if first - here == 1 {
                format!("event {here}")
            } else {
                format!("events {here} to {}", first - 1)
            };
            let (was, is) =
                (self.spans.get(&previous.number).map(|span| span.bytes), previous.bytes.len() as u64);
            let cut = was.is_some_and(|was| was > is);
            let what = if cut { What::Truncated } else { What::Missing };
            let text = format!(
                "{gone} at the end of the segment cannot be found: the next one starts at event {first}"
            );
            return Err(Finding::new(what, Cause::Unclear, &previous.path, text).at(is).event(here));
        }
        Ok(())
    }

    /// Every frame of a segment.
    fn walk(&mut self, segment: &Segment, last: bool, report: &mut Report) -> Result<(), Stop> {
        let mut offset = HEADER_LEN;
        loop {
            let sequence = self.tree.size();
            let place = Place { segment, offset, sequence };
            let payload = match segment.frame(offset) {
                Frame::End => break,
                Frame::Good { sequence: says, .. } if says != sequence => {
                    return Err(place.other_sequence(says).into());
                }
                Frame::Good { payload, .. } => payload,
                Frame::Bad(_)
                    if last
                        && sequence >= self.signed_or_hashed()
                        && !segment.goes_on_after(offset, sequence) =>
                {
                    let text = format!(
                        "{} ends in an incomplete event at byte {offset}: it was being written",
                        show(&segment.path)
                    );
                    report.notes.push(text);
                    break;
                }
                Frame::Bad(fault) => return Err(place.damaged(fault).into()),
            };
            let leaf = Hash::of_event(sequence, payload, &mut self.scratch);
            match self.stored(sequence)? {
                Some(stored) if stored != leaf => return Err(self.mismatch(&place, leaf)?.into()),
                None if sequence < self.notes.covered => return Err(self.leaf_missing(sequence).into()),
                _ => {}
            }
            self.take_note(sequence, payload, report);
            self.push(leaf)?;
            report.events += 1;
            offset += FRAME_HEADER_LEN + payload.len();
        }
        Ok(())
    }

    /// What is noted of a closed segment is what it is.
    fn check_span(&self, closed: &Segment) -> Result<(), Finding> {
        let is = (self.tree.size(), closed.bytes.len() as u64);
        match self.spans.get(&closed.number) {
            Some(span) if (span.end, span.bytes) != is => {
                let text = format!("what is noted of segment {} is not what it is", closed.number);
                Err(Finding::new(What::Altered, Cause::Intent, spans_path(&self.journal), text))
            }
            _ => Ok(()),
        }
    }

    /// Events below it must be there.
    fn signed_or_hashed(&self) -> u64 {
        self.notes.covered.max(self.leaf_count)
    }

    /// What later checks need to know of an event. Only what is signed can excuse that something is gone.
    fn take_note(&mut self, sequence: u64, payload: &[u8], report: &mut Report) {
        let is = |kind: &str| {
            payload.strip_prefix(b"{\"event\":\"").is_some_and(|rest| rest.starts_with(kind.as_bytes()))
        };
        let signed = sequence < self.notes.covered;
        if std::mem::replace(&mut self.after_stop, is("gateway_stopped\"")) && !is("gateway_started\"") {
            report.notes.push(format!(
                "event {sequence} follows the end of a gateway and is no start of one: a session that ended late, or \
                 something added while none ran"
            ));
        }
        if is("recording_sealed\"") || (signed && is("retention\"")) {
            match serde_json::from_slice(payload) {
                Ok(AuditEvent::RecordingSealed(event)) => self.outcome.sealed(&event),
                Ok(AuditEvent::Retention { journal, recordings, .. }) => {
                    self.outcome.deleted.extend(recordings);
                    self.retained = self.retained.max(journal.map_or(0, |gone| gone.last_sequence + 1));
                }
                _ => {}
            }
        }
    }

    /// The leaf hash on the disk.
    fn stored(&mut self, sequence: u64) -> Result<Option<Hash>, Error> {
        if sequence >= self.leaf_count {
            return Ok(None);
        }
        let block = sequence / BLOCK_LEAVES;
        if self.block.0 != block {
            self.block = (block, proof::read_leaves(&self.journal, block)?);
        }
        Ok(self.block.1.get(usize::try_from(sequence % BLOCK_LEAVES).unwrap_or(usize::MAX)).copied())
    }

    fn leaf_place(&self, sequence: u64) -> (PathBuf, u64) {
        (block_path(&self.journal, sequence / BLOCK_LEAVES), sequence % BLOCK_LEAVES * Hash::LEN as u64)
    }

    fn leaf_missing(&self, sequence: u64) -> Finding {
        let (path, offset) = self.leaf_place(sequence);
        let text = format!(
            "the leaf hash of event {sequence} is gone, and a checkpoint covers it; or {COPIED} leaf hashes"
        );
        Finding::new(What::Truncated, Cause::Unclear, path, text).at(offset).event(sequence)
    }

    /// Takes a leaf into the tree and compares what can be compared at this size.
    fn push(&mut self, leaf: Hash) -> Result<(), Stop> {
        if let Some(root) = self.tree.push(leaf) {
            let block = self.tree.size() / BLOCK_LEAVES - 1;
            let noted = self.blocks.get(usize::try_from(block).unwrap_or(usize::MAX));
            if noted.is_some_and(|noted| *noted != root) {
                let text = format!("the root noted for block {block} is not the one its leaf hashes have");
                let finding = Finding::new(What::Altered, Cause::Unclear, blocks_path(&self.journal), text);
                return Err(finding.at(block * Hash::LEN as u64).into());
            }
        }
        self.compare_roots()
    }

    fn compare_roots(&mut self) -> Result<(), Stop> {
        let size = self.tree.size();
        while let Some((next, root)) = self.next.filter(|(next, _)| *next <= size) {
            if next == size {
                if root != self.tree.root() {
                    return Err(self.all_rewritten(size).into());
                }
                self.compared = size;
            }
            self.next = self.notes.next()?;
        }
        if let Some(roots) = self.kept.remove(&size)
            && roots.iter().any(|root| *root != self.tree.root())
        {
            let text = format!(
                "the checkpoint kept elsewhere over {size} events is not a state of this journal: its history was written anew, \
                 or it is another journal"
            );
            return Err(Finding::new(What::RolledBack, Cause::Intent, &self.journal, text).into());
        }
        Ok(())
    }

    /// Every record has the leaf hash that is there, and together they do not lead to what was signed.
    fn all_rewritten(&self, size: u64) -> Finding {
        let (path, offset) = self.leaf_place(self.compared);
        let which = match size - self.compared {
            1 => format!("event {}", self.compared),
            _ => format!("one or more of the events {} to {}", self.compared, size.saturating_sub(1)),
        };
        let text = format!(
            "{which} was rewritten together with its leaf hash: the signed root over {size} events is another"
        );
        Finding::new(What::Altered, Cause::Intent, path, text).at(offset).event(self.compared)
    }

    /// Record and leaf hash differ. The next signed root tells which of them is as it was.
    fn mismatch(&mut self, place: &Place<'_>, leaf: Hash) -> Result<Finding, Error> {
        let sequence = place.sequence;
        if self.leads_to_root(sequence, None)? == Some(false) {
            // The leaf hashes are not what was signed. Is the record, with the leaf hashes behind it?
            if self.leads_to_root(sequence, Some(leaf))? == Some(true) {
                let (path, offset) = self.leaf_place(sequence);
                let text = format!(
                    "the leaf hash of event {sequence} was altered; the event itself is as it was signed"
                );
                return Ok(Finding::new(What::Altered, Cause::Unclear, path, text)
                    .at(offset)
                    .event(sequence));
            }
        }
        let mut failed = None;
        let mut finding = place.other_content(&mut |sequence| match self.stored(sequence) {
            Ok(leaf) => leaf,
            Err(error) => {
                failed = Some(error);
                None
            }
        });
        if sequence >= self.notes.covered {
            finding.text.push_str(" (no checkpoint covers it yet: its unsigned leaf hash says so)");
        }
        failed.map_or(Ok(finding), Err)
    }

    /// Whether the leaf hashes on the disk lead to the next signed root, with another one for `sequence`. `None`: there is none.
    fn leads_to_root(&mut self, sequence: u64, instead: Option<Hash>) -> Result<Option<bool>, Error> {
        let Some((size, root)) = self.next else { return Ok(None) };
        let mut tree = self.tree.clone();
        for at in sequence..size {
            let stored = self.stored(at)?;
            let Some(leaf) = instead.filter(|_| at == sequence).or(stored) else { return Ok(Some(false)) };
            tree.push(leaf);
        }
        Ok(Some(tree.root() == root))
    }

    /// The journal is read to its end: nothing may be signed or hashed behind it.
    fn end(&mut self, last: Option<&Segment>) -> Result<(), Finding> {
        self.ended = true;
        let end = self.tree.size();
        let (path, offset) = match last {
            Some(segment) => (segment.path.clone(), segment.bytes.len() as u64),
            None => (self.journal.clone(), 0),
        };
        let signed = self.notes.covered;
        if end < signed.max(self.leaf_count) {
            let by = match signed > end {
                true => format!("a checkpoint covers {signed}"),
                false => format!("there are leaf hashes of {}", self.leaf_count),
            };
            let text = format!("the journal was cut: it has {end} events, and {by}; or {COPIED} events");
            return Err(Finding::new(What::Truncated, Cause::Unclear, path, text).at(offset).event(end));
        }
        if let Some((size, _)) = self.kept.last_key_value() {
            let text = format!(
                "the journal has {end} events, and the checkpoint kept elsewhere covers {size}: journal and proof were taken back \
                 to an older state"
            );
            return Err(Finding::new(What::RolledBack, Cause::Intent, path, text).at(offset).event(end));
        }
        Ok(())
    }
}
