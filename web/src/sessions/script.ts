// A session as an SQL script: what ran, in order; what did not run stands in comments.

import { lines } from '../api/client.ts';
import type { RecordingEvent } from '../api/types.ts';
import { plain } from '../lib/reveal.ts';

/** Every line of it a comment, whatever ends a line. */
function comment(text: string): string {
  return text
    .split(/\r\n|[\n\r\u0085\u2028\u2029]/)
    .map((line) => `-- ${plain(line)}`.trimEnd())
    .join('\n');
}

export async function script(session: string): Promise<string> {
  const parts: (string | (() => string))[] = [];
  // A held one ran if something came of it.
  const ran = new Set<number>();
  for await (const batch of lines<RecordingEvent>(`/sessions/${encodeURIComponent(session)}/recording`, {}, new AbortController().signal)) {
    for (const event of batch) {
      if (event.event === 'began') {
        const { principal, connection, database } = event.facts;
        parts.push(comment(`session ${session}: ${principal?.name ?? 'nobody'} on ${connection ?? '?'}${database ? `/${database}` : ''}, ${event.at}`));
      } else if (event.event === 'statement') {
        const values = (event.parameters ?? []).map(({ value, cut_from: cut }, at) => `$${at + 1} = ${value ?? 'NULL'}${cut ? ' (cut)' : ''}`);
        const said = [`#${event.number} ${event.at} ${event.decision}${event.decision === 'allow' ? '' : `: ${event.reason}`}`, ...values];
        if (event.text_cut_from) said.push(`only the beginning: it has ${event.text_cut_from} bytes`);
        parts.push(() => {
          const runs = (event.decision === 'allow' || (event.decision === 'hold' && ran.has(event.number))) && !event.text_cut_from;
          return `${comment(said.join('\n'))}\n${runs ? `${event.text.trimEnd().replace(/;$/, '')}\n;` : comment(event.text)}`;
        });
      } else if (event.event === 'done') ran.add(event.number);
      else if (event.event === 'failed') parts.push(comment(`#${event.number} failed: ${event.code} ${event.message}`));
      else if (event.event === 'error') parts.push(comment(`the recording cannot be read on: ${event.error}`));
    }
  }
  return `${parts.map((part) => (typeof part === 'string' ? part : part())).join('\n\n')}\n`;
}

export function save(name: string, text: string): void {
  const address = URL.createObjectURL(new Blob([text], { type: 'application/sql' }));
  const link = document.createElement('a');
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
