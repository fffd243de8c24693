const interactive = process.stderr.isTTY && process.env["CI"] === undefined;
const frames = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
const running = new Map<string, number>();
let frame = 0;

const seconds = (since: number): string => `${((Date.now() - since) / 1000).toFixed(1)} s`;

function redraw(): void {
  if (!interactive) return;
  const names = [...running].map(([name, since]) => `${name} ${seconds(since)}`).join(" · ");
  process.stderr.write(`\r\x1b[K${names === "" ? "" : `${frames[frame++ % frames.length]} ${names}`}`);
}

function line(text: string): void {
  process.stderr.write(interactive ? `\r\x1b[K${text}\n` : `${text}\n`);
}

/**
 * One line per step with its elapsed time: a spinner while it runs in a terminal, plain lines elsewhere. The work
 * returns a few words on what it did ("cached", "3 nodes ready"), or nothing.
 */
export async function step<T extends string | undefined>(name: string, work: () => Promise<T>): Promise<T> {
  const since = Date.now();
  running.set(name, since);
  const timer = interactive ? setInterval(redraw, 100) : undefined;
  // Without a spinner, long steps would look stuck: say once that they run.
  const notice = interactive ? undefined : setTimeout(() => line(`  … ${name}`), 5_000);
  try {
    const done = await work();
    running.delete(name);
    line(`  ok ${name}${done ? `: ${done}` : ""} (${seconds(since)})`);
    return done;
  } catch (error) {
    running.delete(name);
    line(`FAIL ${name} (${seconds(since)})`);
    throw error;
  } finally {
    clearInterval(timer);
    clearTimeout(notice);
    redraw();
  }
}
