// Checks records of histories against lock.qnt: node follow.mjs [--spoil] RECORD...
//
// With --spoil, each record is spoiled in several ways, and each must be refused.
//
// src/simulation/record.rs describes a record. Each becomes a module of Quint, in which each line is
// one action of the specification, and the guarantees are checked after it.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

// The parser and the evaluator of Quint, without its command line: a record as text of the
// language takes minutes to check for types and effects.
const require = createRequire(import.meta.url);
const quint = (name) => require(`./node_modules/@informalsystems/quint/dist/src/${name}.js`);
const { parse } = quint('parsing/quintParserFrontend');
const { fileSourceResolver } = quint('parsing/sourceResolver');
const { newIdGenerator } = quint('idGenerator');
const { newRng } = quint('rng');
const { newTraceRecorder } = quint('runtime/trace');
const { Evaluator } = quint('runtime/impl/evaluator');

const here = dirname(fileURLToPath(import.meta.url));
const NUMBERS = ['at', 'id', 'process', 'session', 'fence', 'found', 'index', 'result', 'until'];
const WORDS = ['event', 'request', 'reason'];

// The specification for these times and processes: an evaluator, and what it can evaluate.
function specification(scope) {
  const processes = [...Array(scope.processes).keys()].join(', ');
  const fields = [...NUMBERS.map((it) => `${it}: 0`), ...WORDS.map((it) => `${it}: ""`)];
  const text = `module record {
    import follow(LIFE = ${scope.ttl}, PAUSE = ${scope.delay}, SPAN = ${scope.lease},
                  MEMBERS = Set(${processes}), SLACK = ${scope.slack ?? 0}).* from "./follow"
    action first = start
    action follows = step({ ${fields.join(', ')} })
    val good = holds
  }`;
  const path = fileSourceResolver(new Map()).lookupPath(here, 'record.qnt');
  const ids = newIdGenerator();
  const { modules, table, errors } = parse(ids, path.toSourceName(), path, text, new Map());
  if (errors.length > 0) throw new Error(errors.map((it) => it.message).join('\n'));
  const body = (name) => modules.at(-1).declarations.find((it) => it.name === name).expr;
  const rng = newRng();
  const evaluator = new Evaluator(table, newTraceRecorder(0, rng, 0), rng);
  return { evaluator, table, ids, first: body('first'), step: body('follows'), good: body('good') };
}

// The call of `step` with the fields of this line in place of the zeros and the empty words. The
// evaluator keeps what it knows of an expression by its number, so that each call needs new ones.
function call({ step, table, ids }, line) {
  const value = (name, literal) => ({
    ...literal,
    id: ids.nextId(),
    value: WORDS.includes(name) ? String(line[name] ?? '') : BigInt(line[name] ?? 0),
  });
  const [fields] = step.args;
  const args = fields.args.map((it, at) => (at % 2 === 0 ? it : value(fields.args[at - 1].value, it)));
  const id = ids.nextId();
  table.set(id, table.get(step.id));
  return { ...step, id, args: [{ ...fields, id: ids.nextId(), args }] };
}

// The number of lines that are allowed, before the first that is not.
function allowed(scope, lines) {
  const spec = specification(scope);
  const holds = (expression) => {
    const result = spec.evaluator.evaluate(expression);
    if (result.isLeft()) throw new Error(`${result.value.code}: ${result.value.message}`);
    return result.value.value;
  };
  if (!holds(spec.first)) throw new Error('the specification does not begin');
  spec.evaluator.shift();
  for (const [count, line] of lines.entries()) {
    if (!holds(call(spec, line))) return count;
    spec.evaluator.shift();
    if (!holds(spec.good)) return count;
  }
  return lines.length;
}

const isOwn = (line) => line.event === 'own';
const clone = (lines) => lines.map((line) => ({ ...line }));
const requestOf = (lines) =>
  new Map(lines.filter((it) => it.event === 'send').map((it) => [it.id, it.request]));

// Whether a loss ends an ownership, and its process next asks for another.
const endsOwnership = (lines, at) => {
  const { process } = lines[at];
  const its = (it) => it.process === process;
  const isEnd = (it) => it.event === 'lose' || it.event === 'restart' || it.request === 'release';
  const last = lines.slice(0, at).findLast((it) => its(it) && (isOwn(it) || isEnd(it)));
  const requests = ['create', 'lock', 'release'];
  const next = lines.slice(at).find((it) =>
    its(it) && (it.event === 'restart' || requests.includes(it.request)));
  return last !== undefined && isOwn(last) && ['create', 'lock'].includes(next?.request);
};
// The record with one loss more, told just after the first ownership.
const withLoss = (lines, reason) => {
  const at = lines.findIndex(isOwn);
  const { at: when, process } = lines[at] ?? {};
  return at >= 0 && lines.toSpliced(at + 1, 0, { at: when, event: 'lose', process, reason });
};

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
    const of = requestOf(lines);
    const proves = (it) => ['create', 'renew'].includes(of.get(it.id)) && it.until > 0;
    const heard = lines.findLast((it) => it.event === 'hear' && proves(it));
    if (heard) heard.until += 1_000_000;
    return heard && lines;
  },
  'a release never reached Consul': (lines) => {
    const of = requestOf(lines);
    const at = lines.findIndex((it) =>
      it.event === 'serve' && of.get(it.id) === 'release' && it.result === 1);
    return at < 0 ? undefined : lines.toSpliced(at, 1);
  },
  'a lease is believed for a tenth longer': (lines, scope) => {
    const told = lines.filter((it) => it.event === 'believe' && it.until > 0);
    for (const line of told) line.until += scope.lease / 10;
    return told.length > 0 && lines;
  },
  'the lock-delay of a holder lasts a second longer': (lines, scope) => {
    const requests = requestOf(lines);
    // Its fence entry and the key were freed together.
    const held = lines.findIndex((it) => it.event === 'end' && it.fence > 0 && it.index === it.fence);
    const next = lines.slice(held).find((it) =>
      it.event === 'serve' && requests.get(it.id) === 'lock' && it.result > 0);
    scope.delay += 1_000_000_000;
    return held >= 0 && next?.at < lines[held].at + scope.delay && lines;
  },
  'a loss is not told': (lines) => {
    const at = lines.findIndex((it, at) => it.event === 'lose' && endsOwnership(lines, at));
    return at >= 0 && lines.toSpliced(at, 1);
  },
  'a loss is told before the deadline': (lines) => withLoss(lines, 'DeadlinePassed'),
  'a loss is told of a session that lives': (lines) => withLoss(lines, 'SessionGone'),
  'a loss is told of a key that is still locked': (lines) => withLoss(lines, 'KeyDeleted'),
  'a session expires before its TTL': (lines, scope) => {
    scope.ttl *= 3;
    return lines.some((it) => it.event === 'end' && it.reason === 'expired') && lines;
  },
  'a lock checks no fence': (lines) => {
    const lock = lines.find((it) => it.request === 'lock');
    if (lock) lock.fence = 0;
    return lock && lines;
  },
};

let wrong = 0;
const done = new Set();
const spoils = process.argv.includes('--spoil');
for (const name of process.argv.slice(2).filter((it) => it !== '--spoil')) {
  const text = readFileSync(name, 'utf8').split('\n').filter(Boolean);
  const [scope, ...lines] = text.map((line) => JSON.parse(line));
  if (spoils) {
    for (const [what, spoil] of Object.entries(SPOILS)) {
      const [like] = clone([scope]);
      const spoiled = spoil(clone(lines), like);
      if (!spoiled) continue;
      done.add(what);
      const passes = allowed(like, spoiled) === spoiled.length;
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
for (const what of spoils ? Object.keys(SPOILS).filter((it) => !done.has(it)) : []) {
  wrong += 1;
  console.log(`${what}: NEVER DONE`);
}
process.exitCode = wrong > 0 ? 1 : 0;
