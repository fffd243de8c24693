/**
 * The certificates command of every agent: observes Secrets and the StatefulSet, takes the decisions of
 * `core/certificates.ts` and carries them out. It may be killed at any point; the next run continues from what is in
 * the cluster.
 */
import { createHash } from "node:crypto";
import {
  backdateMilliseconds,
  type CertificateSettings,
  type CertificatesAction,
  type CertificatesObserved,
  decideCertificates,
  leafSecretNames,
  type Phase,
  rollAnnotation,
  stalePodsAnnotation,
  stalePodsOf,
  subjectNames,
} from "../core/certificates";
import { messageOf } from "../core/errors";
import { log } from "../core/log";
import { agentLabels, memberNames, namesOf } from "../core/names";
import type { SecretReference } from "../core/settings";
import {
  type Authority,
  createAuthority,
  isAuthority,
  issueLeaf,
  type KeyPair,
  leadsToRoot,
  readAuthority,
  readLeaf,
  rootOf,
  splitPem,
  withChain,
} from "./issue";
import {
  type ConfigMap,
  core,
  decoded,
  encoded,
  inClusterApi,
  type KubernetesApi,
  ownerReference,
  type Secret,
} from "./kubernetes";
import { readPod, readSettings } from "./main";
import { readStatefulSet, tlsOf } from "./roll";

const day = 24 * 60 * 60 * 1000;
/** Field manager of all that this command applies. */
const manager = "cells-services-certificates";
/**
 * Earlier releases noted here what members that were never rolled had started with, and for a roll set `rollAnnotation`
 * on the pod template. What is left of that on a template does no harm.
 */
const formerBaseline = "cells-services/baseline";

interface AuthoritySecret {
  phase: Phase;
  since: number;
  rotation: number;
  /** When certificates were last issued in place of ones that had ended. */
  missed?: number | undefined;
  current: Authority;
  /** The key is there only while the other authority is the one that comes. */
  other?: (Omit<Authority, "key"> & { key?: string | undefined }) | undefined;
}

/** By the name of the Secret; undefined: missing. */
type Leaves = Record<string, KeyPair | undefined>;

interface RollNote {
  startedWith: string | undefined;
  stalePods: string[];
}

interface Seen {
  /** undefined: it was never made. */
  secret: AuthoritySecret | undefined;
  leaves: Leaves;
  /** By the issuer, if there is one. */
  issued: Authority | undefined;
}

type Servers = NonNullable<CertificatesObserved["servers"]> & { replicas: number; stalePods: string[] };

interface Context {
  settings: CertificateSettings;
  namespace: string;
  api: KubernetesApi;
  now: () => number;
}

export function certificatesCommand(): Promise<void> {
  const { namespace } = readPod();
  return keepCertificates({ settings: readSettings(), namespace, api: inClusterApi(), now: Date.now });
}

export async function keepCertificates(context: Context): Promise<void> {
  const { secret, leaves } = await keepAuthority(context);
  await keepTrust(context, secret, leaves);
  // Last: a namespace that is gone does not keep the members from their certificates.
  await publishElsewhere(context, secret);
}

async function keepTrust(context: Context, secret: AuthoritySecret, leaves: Leaves): Promise<void> {
  const hash = rollHash(context.settings, secret, leaves);
  const servers = await readServers(context);
  // Members that do not exist yet will start with what is published now.
  if (servers === undefined || servers.plain === true) {
    return publishTrust(context, secret, { startedWith: hash, stalePods: [] });
  }
  await publishTrust(context, secret, { startedWith: servers.rolled, stalePods: servers.stalePods });
  if (servers.rolled === hash) return;
  log("the members are to be restarted for new certificates");
  // After everything that members read when they start: a pod that is made from now on is not stale.
  await applyTrust(context, secret, { startedWith: hash, stalePods: await readPods(context, servers.replicas) });
}

/** Takes steps until there is nothing to do, but at most one that changes the authority. */
async function keepAuthority(context: Context): Promise<{ secret: AuthoritySecret; leaves: Leaves }> {
  const issued = await readIntermediate(context);
  let phaseChanged = false;
  let timesIssued = 0;
  for (;;) {
    const secret = await readAuthoritySecret(context);
    const leaves = await readLeaves(context);
    const seen = { secret, leaves, issued };
    const action = await nextAction(context, seen);
    if (action.kind === "refuse") throw new Error(action.reason);
    if (action.kind === "nothing" || action.kind === "wait" || (phaseChanged && isPhaseChange(action))) {
      if (action.kind === "wait") log(`waiting for the next run: ${action.reason}`);
      if (secret === undefined) throw new Error("the certificate authority was removed while certificates were issued");
      await writeLeaves(context, secret, leaves);
      return { secret, leaves };
    }
    phaseChanged ||= isPhaseChange(action);
    // Once because they are old, once more because the phase changed.
    if (action.kind === "issue-leaves" && ++timesIssued > 2) {
      throw new Error(
        "the certificate authority ends within minutes: what it signs is old at once; renew it at its issuer",
      );
    }
    await act(context, action, seen);
  }
}

function isPhaseChange(action: CertificatesAction): boolean {
  return ["introduce-authority", "switch-authority", "retire-authority"].includes(action.kind);
}

async function nextAction(context: Context, { secret, leaves, issued }: Seen): Promise<CertificatesAction> {
  const { settings, namespace, now } = context;
  const signers = [secret?.current, secret?.other].flatMap((each) => each?.certificate ?? []);
  const observed: CertificatesObserved = {
    authority: secret && {
      phase: secret.phase,
      since: secret.since,
      rotation: secret.rotation,
      current: readAuthority(secret.current.certificate),
      issued: secret.current.issued !== undefined,
      other: secret.other && readAuthority(secret.other.certificate),
    },
    leaves: Object.fromEntries(Object.entries(leaves).map(([name, pair]) => [name, pair && readLeaf(pair, signers)])),
    servers: await readServers(context),
  };
  const { dns, ip } = subjectNames(settings.name, namespace, settings.members);
  const trusted = issued !== undefined && (await readTrust(context)).includes(rootOf(issued));
  const wanted = {
    subjects: [...dns, ...ip],
    rotation: settings.rotation,
    issued: issued && { ...readAuthority(issued.certificate), trusted },
  };
  return decideCertificates(observed, wanted, rollHash(settings, secret, leaves), now());
}

async function act(context: Context, action: CertificatesAction, { secret, leaves, issued }: Seen): Promise<void> {
  const { settings, now } = context;
  if (action.kind === "create-authority") {
    log(issued === undefined ? "making a certificate authority" : "taking the intermediate authority of the issuer");
    const current = issued ?? (await newAuthority(context));
    await writeAuthoritySecret(context, { phase: "steady", since: now(), rotation: settings.rotation, current });
    return;
  }
  if (secret === undefined) throw new Error(`${action.kind} needs a certificate authority, but there is none`);
  switch (action.kind) {
    case "issue-leaves": {
      log(`issuing ${action.secrets.join(" and ")}: ${action.reason}`);
      if (action.missed) await writeAuthoritySecret(context, { ...secret, missed: now() });
      const fresh = action.secrets.map(async (name) => [name, await newLeaf(context, secret.current)] as const);
      await writeLeaves(context, secret, { ...leaves, ...Object.fromEntries(await Promise.all(fresh)) });
      return;
    }
    case "introduce-authority":
      log(`introducing a new certificate authority: ${action.reason}`);
      await writeAuthoritySecret(context, {
        ...secret,
        phase: "introduced",
        since: now(),
        rotation: Math.max(settings.rotation, secret.rotation),
        other: issued ?? (await newAuthority(context)),
      });
      return;
    case "switch-authority": {
      const { other, current } = secret;
      // Clients in other namespaces must trust the new authority first, unless the old one is of no use to them any more.
      if (now() < readAuthority(current.certificate).notAfter) await publishElsewhere(context, secret);
      log("signing with the new certificate authority from now on");
      if (other?.key === undefined) throw new Error("the new certificate authority has no key; its Secret was edited");
      await writeAuthoritySecret(context, {
        ...secret,
        phase: "switched",
        since: now(),
        current: { ...other, key: other.key },
        // The key of the old authority is forgotten: nothing is signed with it again.
        other: { certificate: current.certificate, issued: current.issued },
      });
      return;
    }
    case "retire-authority": {
      log("no longer trusting the old certificate authority");
      const { rotation, missed, current } = secret;
      await writeAuthoritySecret(context, { phase: "steady", since: now(), rotation, missed, current });
      return;
    }
    case "wait":
    case "refuse":
    case "nothing":
      return;
  }
}

function newAuthority({ settings, namespace, now }: Context): Promise<KeyPair> {
  return createAuthority(`${settings.name}.${namespace} ${new Date(now()).toISOString()}`, {
    notBefore: now() - backdateMilliseconds,
    notAfter: now() + settings.authorityLifetimeDays * day,
  });
}

async function newLeaf({ settings, namespace, now }: Context, authority: Authority): Promise<KeyPair> {
  const leaf = await issueLeaf(authority, {
    commonName: settings.name,
    ...subjectNames(settings.name, namespace, settings.members),
    notBefore: now() - backdateMilliseconds,
    // A root may end before the intermediate authority that it signed.
    notAfter: Math.min(now() + settings.lifetimeDays * day, readAuthority(rootOf(authority)).notAfter),
  });
  return withChain(leaf, authority);
}

/** Two intermediate authorities may have the same root. */
function trustBundle({ current, other }: AuthoritySecret): string[] {
  return [...new Set([current, ...(other === undefined ? [] : [other])].map(rootOf))];
}

/** A renewed one is noticed within a day, introduced, and signs a day or two later. cert-manager renews in the last third. */
const leastIntermediateDays = 10;

/** The authority that cert-manager keeps in its Secret; undefined without an issuer. */
async function readIntermediate(context: Context): Promise<Authority | undefined> {
  const { api, namespace, settings } = context;
  if (settings.issuer === "own") return undefined;
  const name = namesOf(settings.name).intermediate;
  const data = decoded((await api.get<Secret>(core(namespace, "secrets", name)))?.data);
  const { "ca.crt": root, "tls.key": key } = data;
  const [certificate, ...above] = splitPem(data["tls.crt"] ?? "");
  if (!root || !key || certificate === undefined || !isAuthority(certificate)) {
    throw new Error(
      `the Secret ${name} must have an authority that may sign in tls.crt, its key in tls.key and its root in ca.crt, ` +
        `got ${Object.keys(data).join(", ") || "nothing"}; use an issuer that signs authorities, such as CA or Vault`,
    );
  }
  const between = above.filter((each) => each.trim() !== root.trim());
  if (!leadsToRoot([certificate, ...between, root])) {
    throw new Error(
      `the certificates in tls.crt of the Secret ${name} must lead to a root in ca.crt; use an issuer that tells its root`,
    );
  }
  const days = Math.floor((readAuthority(certificate).notAfter - context.now()) / day);
  if (days < leastIntermediateDays) {
    throw new Error(
      `the authority in the Secret ${name} must be valid for ${leastIntermediateDays} days at least, so that a renewed one can ` +
        `take its place in time, got ${days}; raise certificates.authorityLifetimeDays, or what the issuer allows`,
    );
  }
  // cert-manager leaves the Secret when its Certificate goes; the owner makes Kubernetes remove it.
  const ownerReferences = [await ownerReference(api, namespace, namesOf(settings.name).certificates)];
  const owned = { apiVersion: "v1", kind: "Secret", metadata: { name, ownerReferences } };
  await api.apply(core(namespace, "secrets", name), owned, manager);
  return { certificate, key, issued: { chain: between.join(""), root: splitPem(root).join("") } };
}

/** What the members must have started with. */
function rollHash(settings: CertificateSettings, secret: AuthoritySecret | undefined, leaves: Leaves): string {
  const more = {
    authority: [],
    signer: secret === undefined ? [] : [secret.current.certificate],
    any: Object.values(leaves).map((pair) => pair?.certificate ?? ""),
  }[settings.restartOn];
  const trusted = secret === undefined ? [] : trustBundle(secret).sort();
  const missed = secret?.missed === undefined ? [] : [`${secret.missed}`];
  const content = [...trusted, ...more, ...missed].join("\n");
  return createHash("sha256").update(content).digest("hex").slice(0, 16);
}

async function readAuthoritySecret({ api, namespace, settings }: Context): Promise<AuthoritySecret | undefined> {
  const name = namesOf(settings.name).authority;
  const secret = await api.get<Secret>(core(namespace, "secrets", name));
  if (secret === undefined) return undefined;
  const data = decoded(secret.data);
  const { phase, since, rotation, missed } = JSON.parse(data["state.json"] ?? "{}") as Partial<AuthoritySecret>;
  const { "ca.crt": certificate, "ca.key": key, "other.crt": other, "other.key": otherKey } = data;
  const issued = (root: string | undefined, chain = "") => (root ? { chain, root } : undefined);
  if (phase === undefined || since === undefined || rotation === undefined || !certificate || !key) {
    // Making a new one would cut off every client that trusts the old one.
    throw new Error(`the Secret ${name} has no complete certificate authority; restore it from a backup`);
  }
  const otherIssued = issued(data["other-root.crt"], data["other-chain.crt"]);
  return {
    phase,
    since,
    rotation,
    missed,
    current: { certificate, key, issued: issued(data["root.crt"], data["chain.crt"]) },
    other: other ? { certificate: other, key: otherKey || undefined, issued: otherIssued } : undefined,
  };
}

async function writeAuthoritySecret(context: Context, secret: AuthoritySecret): Promise<void> {
  const { current, other, ...state } = secret;
  await applyObject(context, "Secret", namesOf(context.settings.name).authority, {
    type: "Opaque",
    data: encoded({
      "state.json": JSON.stringify(state),
      "ca.crt": current.certificate,
      "ca.key": current.key,
      "root.crt": current.issued?.root,
      "chain.crt": current.issued?.chain,
      "other.crt": other?.certificate,
      "other.key": other?.key,
      "other-root.crt": other?.issued?.root,
      "other-chain.crt": other?.issued?.chain,
    }),
  });
}

async function readLeaves({ api, namespace, settings }: Context): Promise<Leaves> {
  const entries = leafSecretNames(settings.service, settings.name).map(async (name) => {
    const data = decoded((await api.get<Secret>(core(namespace, "secrets", name)))?.data);
    const { "tls.crt": certificate, "tls.key": key } = data;
    return [name, certificate && key ? { certificate, key } : undefined] as const;
  });
  return Object.fromEntries(await Promise.all(entries));
}

/** All keys at once: a key that is left out of a server-side apply is removed. */
async function writeLeaves(context: Context, secret: AuthoritySecret, leaves: Leaves): Promise<void> {
  for (const [name, pair] of Object.entries(leaves)) {
    if (pair === undefined) continue;
    await applyObject(context, "Secret", name, {
      type: "kubernetes.io/tls",
      data: encoded({ "tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": trustBundle(secret).join("") }),
    });
  }
}

function readTrustObject({ api, namespace, settings }: Context): Promise<ConfigMap | undefined> {
  return api.get(core(namespace, "configmaps", namesOf(settings.name).trust));
}

async function readTrust(context: Context): Promise<string[]> {
  return splitPem((await readTrustObject(context))?.data?.["ca.crt"] ?? "");
}

async function applyTrust(context: Context, secret: AuthoritySecret, note: RollNote): Promise<void> {
  const { startedWith = "", stalePods } = note;
  const annotations = { [rollAnnotation]: startedWith, [stalePodsAnnotation]: stalePods.join(" ") };
  const data = { "ca.crt": trustBundle(secret).join("") };
  await applyObject(context, "ConfigMap", namesOf(context.settings.name).trust, { data }, annotations);
}

async function publishTrust(context: Context, secret: AuthoritySecret, note: RollNote): Promise<void> {
  const { namespace, settings } = context;
  await applyTrust(context, secret, note);
  for (const name of settings.publishTo) await publishBundle(context, secret, { namespace, name });
}

function publishBundle({ api }: Context, secret: AuthoritySecret, { namespace, name }: SecretReference): Promise<void> {
  const data = encoded({ "ca.crt": trustBundle(secret).join("") });
  const object = { apiVersion: "v1", kind: "Secret", metadata: { name }, data };
  return api.apply(core(namespace, "secrets", name), object, manager);
}

/** Tries all, and throws for those that failed. */
async function publishElsewhere(context: Context, secret: AuthoritySecret): Promise<void> {
  const failures: string[] = [];
  for (const each of context.settings.publishElsewhere ?? []) {
    await publishBundle(context, secret, each).catch((error: unknown) => void failures.push(messageOf(error)));
  }
  if (failures.length > 0) throw new Error(`the trust bundle is not in every namespace: ${failures.join("; ")}`);
}

async function readServers(context: Context): Promise<Servers | undefined> {
  const { api, namespace, settings } = context;
  const set = await readStatefulSet(settings.name, namespace, api);
  if (set === undefined) return undefined;
  const { spec, status, metadata } = set;
  const annotations = (await readTrustObject(context))?.metadata?.annotations;
  const stalePods = stalePodsOf(annotations);
  const pods = stalePods.length === 0 ? [] : await readPods(context, spec.replicas);
  const settled =
    status !== undefined &&
    (status.observedGeneration ?? 0) >= (metadata?.generation ?? 0) &&
    status.readyReplicas === spec.replicas &&
    // Not the current revision: it never moves on when Kubernetes does not roll.
    status.updatedReplicas === spec.replicas &&
    !pods.some((uid) => stalePods.includes(uid));
  const rolled =
    annotations?.[rollAnnotation] ??
    spec.template?.metadata?.annotations?.[rollAnnotation] ??
    annotations?.[formerBaseline];
  return { settled, rolled, plain: tlsOf(spec.template?.spec) === "off", replicas: spec.replicas, stalePods };
}

async function readPods({ api, namespace, settings }: Context, replicas: number): Promise<string[]> {
  const names = memberNames(settings.name, replicas);
  const pods = await Promise.all(names.map((name) => api.get(core(namespace, "pods", name))));
  return pods.flatMap((pod) => pod?.metadata?.uid ?? []);
}

/** Objects that Pulumi does not know belong to the ServiceAccount of this agent, so that they go when it goes. */
async function applyObject(
  context: Context,
  kind: "Secret" | "ConfigMap",
  name: string,
  content: object,
  annotations?: Record<string, string>,
): Promise<void> {
  const { api, namespace, settings } = context;
  const object = {
    apiVersion: "v1",
    kind,
    metadata: {
      name,
      labels: agentLabels(settings),
      ownerReferences: [await ownerReference(api, namespace, namesOf(settings.name).certificates)],
      annotations,
    },
    ...content,
  };
  await api.apply(core(namespace, kind === "Secret" ? "secrets" : "configmaps", name), object, manager);
}
