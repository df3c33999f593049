//! The front door: text -> [`Analysis`], cached, parsed on threads of its own.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::{Analysis, AnalysisError, cache::Cache, normalise, pool::Pool};

/// How an [`Analyzer`] is set up.
#[derive(Clone, Debug)]
pub struct AnalyzerConfig {
    /// The longest text analysed, in bytes.
    pub max_text_bytes: usize,
    /// How many texts the cache holds, about.
    pub cache_entries: usize,
    /// How many bytes of memory the cache takes, about. What is kept of a text takes ten times its length and more.
    pub cache_bytes: usize,
    /// How many threads parse.
    pub threads: usize,
}

impl Default for AnalyzerConfig {
    fn default() -> Self {
        Self { max_text_bytes: 64 * 1024, cache_entries: 8_192, cache_bytes: 32 * 1024 * 1024, threads: 2 }
    }
}

/// How often each way was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnalyzerCounts {
    /// Found by exact text.
    pub exact_hits: u64,
    /// Found by the text without its literals.
    pub normalised_hits: u64,
    /// Parsed.
    pub parsed: u64,
}

/// Analyses texts. Cheap to share; every method takes `&self`.
pub struct Analyzer {
    max_text_bytes: usize,
    pool: Pool,
    exact: Cache<Analysis>,
    normalised: Cache<Analysis>,
    exact_hits: AtomicU64,
    normalised_hits: AtomicU64,
    parsed: AtomicU64,
}

impl Analyzer {
    /// Starts the threads. They end when the analyzer is dropped.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn new(config: AnalyzerConfig) -> std::io::Result<Self> {
        Ok(Self {
            max_text_bytes: config.max_text_bytes,
            pool: Pool::start(config.threads)?,
            exact: Cache::new(config.cache_entries, config.cache_bytes),
            normalised: Cache::new(config.cache_entries, config.cache_bytes),
            exact_hits: AtomicU64::new(0),
            normalised_hits: AtomicU64::new(0),
            parsed: AtomicU64::new(0),
        })
    }

    /// What `text` means. Blocks while it is parsed: microseconds where cached, up to milliseconds for a long new text.
    /// Nothing is remembered of texts that cannot be analysed.
    ///
    /// # Errors
    /// See [`AnalysisError`]; each means that the text must not pass.
    pub fn analyze(&self, text: &str) -> Result<Arc<Analysis>, AnalysisError> {
        if text.len() > self.max_text_bytes {
            return Err(AnalysisError::TooLong { length: text.len(), limit: self.max_text_bytes });
        }
        if let Some(hit) = self.exact.find(text) {
            self.exact_hits.fetch_add(1, Ordering::Relaxed);
            return Ok(hit);
        }
        normalise::with_key(text, |key| self.analyze_new(text, key))
    }

    fn analyze_new(&self, text: &str, key: Option<&str>) -> Result<Arc<Analysis>, AnalysisError> {
        if let Some(hit) = key.and_then(|key| self.normalised.find(key)) {
            self.normalised_hits.fetch_add(1, Ordering::Relaxed);
            return Ok(Arc::new(Analysis { text: text.into(), shape: Arc::clone(&hit.shape) }));
        }
        let analysis = Arc::new(self.analyze_fresh(text)?);
        let weight = analysis.memory();
        match key {
            Some(key) if !analysis.shape.literal_sensitive => {
                self.normalised.insert(key, Arc::clone(&analysis), weight);
            }
            _ => {}
        }
        self.exact.insert(text, Arc::clone(&analysis), weight);
        Ok(analysis)
    }

    /// What `text` means if that is known already. Never waits for a parser: microseconds.
    pub fn known(&self, text: &str) -> Option<Arc<Analysis>> {
        if let Some(hit) = self.exact.find(text) {
            self.exact_hits.fetch_add(1, Ordering::Relaxed);
            return Some(hit);
        }
        normalise::with_key(text, |key| {
            let hit = key.and_then(|key| self.normalised.find(key))?;
            self.normalised_hits.fetch_add(1, Ordering::Relaxed);
            Some(Arc::new(Analysis { text: text.into(), shape: Arc::clone(&hit.shape) }))
        })
    }

    /// As [`Analyzer::analyze`], past the caches.
    ///
    /// # Errors
    /// See [`AnalysisError`].
    pub fn analyze_fresh(&self, text: &str) -> Result<Analysis, AnalysisError> {
        if text.len() > self.max_text_bytes {
            return Err(AnalysisError::TooLong { length: text.len(), limit: self.max_text_bytes });
        }
        self.parsed.fetch_add(1, Ordering::Relaxed);
        self.pool.analyze(text.into())
    }

    /// How often each way was taken since the start.
    pub fn counts(&self) -> AnalyzerCounts {
        AnalyzerCounts {
            exact_hits: self.exact_hits.load(Ordering::Relaxed),
            normalised_hits: self.normalised_hits.load(Ordering::Relaxed),
            parsed: self.parsed.load(Ordering::Relaxed),
        }
    }
}

impl std::fmt::Debug for Analyzer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Analyzer").field("counts", &self.counts()).finish_non_exhaustive()
    }
}
