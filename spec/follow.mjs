// Checks records of histories against lock.qnt: node follow.mjs [--spoil] RECORD...
//
// With --spoil, each record is spoiled in several ways, and each must be refused.
//
// src/simulation/record.rs describes a record. Each becomes a module of Quint, in which each line is
// one action of the specification, and the guarantees are checked after it.
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'follow-'));
copyFileSync(join(here, 'lock.qnt'), join(folder, 'lock.qnt'));

const NUMBERS = ['at', 'id', 'process', 'session', 'fence', 'found', 'index', 'result', 'until'];
const WORDS = ['event', 'request', 'reason'];

function quintOf(line) {
  const number = (name) => `${name}: ${BigInt(line[name] ?? 0)}`;
  const word = (name) => `${name}: ${JSON.stringify(String(line[name] ?? ''))}`;
  return `    { ${[...NUMBERS.map(number), ...WORDS.map(word)].join(', ')} }`;
}

function moduleOf(scope, lines) {
  const processes = [...Array(scope.processes).keys()].join(', ');
  return `module follow {
  import lock(TTL = ${scope.ttl}, DELAY = ${scope.delay}, LEASE = ${scope.lease},
              PROCESSES = Set(${processes})).* from "./lock"

  type Line = { ${[...NUMBERS.map((it) => it + ': int'), ...WORDS.map((it) => it + ': str')].join(', ')} }

  pure val LINES: List[Line] = [
${lines.map(quintOf).join(',\n')}
  ]

  action sent(line: Line): bool =
    if (line.request == "create") create(line.process, line.id)
    else if (line.request == "renew") renew(line.process, line.session, line.id)
    else if (line.request == "look") look(line.process, line.session, line.id)
    else if (line.request == "raise") raise(line.process, line.session, line.found, line.id)
    else if (line.request == "lock")
      lock(line.process, line.session, line.fence, line.found, line.id)
    else all {
      line.request == "release",
      release(line.process, line.session, line.index, line.id),
    }

  // The record does not show the index of a new session, nor of a deletion: the next one may be
  // lower than the real one.
  action served(line: Line): bool = {
    val isLock = match requests.get(line.id) { | Lock(r) => true | _ => false }
    val isRelease = match requests.get(line.id) { | Release(r) => true | _ => false }
    val isRaise = match requests.get(line.id) { | Raise(r) => true | _ => false }
    val same = isLock and line.result != 0 and line.result == index
    val writes = line.result != 0 and not(same) and
      (isLock or isRaise or (isRelease and line.index != 0))
    val at = if (writes) line.index else raft + 1
    all {
      requests.keys().contains(line.id),
      line.result == outcome(line.id, at, same),
      // The key changes by what is specified, and by nothing else.
      writes or line.index == index or (isRelease and line.result == 1) or isRaise,
      serve(line.id, at, line.index != 0, same),
    }
  }

  action ended(line: Line): bool = {
    val held = holder == line.session
    all {
      held or line.index == index,
      end(line.session, if (held) line.index else if (line.fence != 0) line.fence else raft + 1),
    }
  }

  // The lease that an answer proves.
  def proves(line: Line): bool = match requests.get(line.id) {
    | Create(r) => line.until == r.sent + LEASE
    | Renew(r) => {
        val before = deadline.get(r.process)
        val later = line.result == 1 and r.sent + LEASE > before
        line.until == (if (later) r.sent + LEASE else before)
      }
    | _ => true
  }

  action heard(line: Line): bool = all {
    waiting.contains(line.id),
    // 0: the session was closed.
    line.until == 0 or proves(line),
    hear(line.id, line.result),
  }

  // A loss has the reason that is told.
  def isTrue(line: Line): bool = {
    val p = line.process
    owns.get(p) != 0 implies and {
      line.reason == "DeadlinePassed" implies now >= deadline.get(p),
      line.reason == "SessionGone" implies not(alive.contains(session.get(p))),
    }
  }

  action follow(line: Line): bool = all {
    if (line.event == "send") sent(line)
    else if (line.event == "serve") served(line)
    else if (line.event == "hear") heard(line)
    else if (line.event == "unsent") unsent(line.id)
    else if (line.event == "give up") giveUp(line.id)
    else if (line.event == "end") ended(line)
    else if (line.event == "own") own(line.process, line.index)
    else if (line.event == "lose") all { isTrue(line), lose(line.process) }
    else if (line.event == "close") all { isTrue(line), close(line.process) }
    else all { line.event == "restart", restart(line.process) },
  }

  // Time passes up to each line, then it happens.
  var place: int

  action start = all { init, place' = 0 }

  action step = all {
    place < 2 * LINES.length(),
    place' = place + 1,
    if (place % 2 == 0) pass(LINES[place / 2].at) else follow(LINES[place / 2]),
  }
}
`;
}

// The number of lines that are allowed, before the first that is not.
function allowed(scope, lines) {
  const [file, trace] = ['follow.qnt', 'trace.itf.json'].map((name) => join(folder, name));
  writeFileSync(file, moduleOf(scope, lines));
  const quint = join(here, 'node_modules/.bin/quint');
  const args = ['run', file, '--main=follow', '--init=start', '--backend=typescript', '--verbosity=0',
    '--invariant=safe', '--max-samples=1', `--max-steps=${2 * lines.length}`, `--out-itf=${trace}`];
  rmSync(trace, { force: true });
  try {
    execFileSync(quint, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (failed) {
    // A broken guarantee also ends the run.
    if (!existsSync(trace)) throw new Error(`${failed.stdout}${failed.stderr}`.slice(0, 4000));
  }
  const { states } = JSON.parse(readFileSync(trace, 'utf8'));
  return (states.length - 1) >> 1;
}

const isOwn = (line) => line.event === 'own';
const clone = (lines) => lines.map((line) => ({ ...line }));

// What is done to a record, where it can be done. Returns nothing where it cannot.
const SPOILS = {
  'an ownership has another index': (lines) => {
    const own = lines.find(isOwn);
    if (own) own.index += 1;
    return own && lines;
  },
  'an ownership is taken by another process': (lines, scope) => {
    const own = lines.find(isOwn);
    if (own) own.process = (own.process + 1) % scope.processes;
    return own && lines;
  },
  'the lock before an ownership was refused': (lines) => {
    const own = lines.find(isOwn);
    const heard = own && lines.find((it) => it.event === 'hear' && it.result === own.index);
    if (heard) heard.result = 0;
    return heard && lines;
  },
  'a lease is a millisecond longer': (lines) => {
    const heard = lines.findLast((it) => it.event === 'hear' && it.until > 0);
    if (heard) heard.until += 1_000_000;
    return heard && lines;
  },
  'a release never reached Consul': (lines) => {
    const of = new Map(lines.filter((it) => it.event === 'send').map((it) => [it.id, it.request]));
    const at = lines.findIndex((it) =>
      it.event === 'serve' && of.get(it.id) === 'release' && it.result === 1);
    return at < 0 ? undefined : lines.toSpliced(at, 1);
  },
  'a lock checks no fence': (lines) => {
    const lock = lines.find((it) => it.request === 'lock');
    if (lock) lock.fence = 0;
    return lock && lines;
  },
};

let wrong = 0;
const spoils = process.argv.includes('--spoil');
for (const name of process.argv.slice(2).filter((it) => it !== '--spoil')) {
  const text = readFileSync(name, 'utf8').split('\n').filter(Boolean);
  const [scope, ...lines] = text.map((line) => JSON.parse(line));
  if (spoils) {
    for (const [what, spoil] of Object.entries(SPOILS)) {
      const spoiled = spoil(clone(lines), scope);
      if (!spoiled) continue;
      const passes = allowed(scope, spoiled) === spoiled.length;
      wrong += passes ? 1 : 0;
      console.log(`${name}, ${what}: ${passes ? 'NOT REFUSED' : 'refused'}`);
    }
    continue;
  }
  const good = allowed(scope, lines);
  if (good === lines.length) {
    const owned = lines.filter(isOwn).length;
    console.log(`${name}: ${lines.length} lines, ${owned} ownerships, allowed`);
    continue;
  }
  wrong += 1;
  console.log(`${name}: line ${good + 2} is REFUSED: ${text[good + 1]}`);
}
rmSync(folder, { recursive: true });
process.exitCode = wrong > 0 ? 1 : 0;
