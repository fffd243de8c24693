/** The outputs of every component, with the same names in all services. */
import * as pulumi from "@pulumi/pulumi";
import type { CheckTarget } from "../core/check";
import { applicationSecretName, memberNames, namesOf, serviceHost } from "../core/names";
import type { Ensemble } from "./arguments";
import { requireMutable } from "./provider";

/** The outputs resolve when the user can log in. User name and password are undefined where the cluster makes them. */
export interface Application {
  /** Name of the Secret: `username`, `password`, `url` and, with TLS, `ca.crt`. */
  secret: pulumi.Output<string>;
  /** As in the Secret, for a program that cannot read the Secret. */
  username: pulumi.Output<string> | undefined;
  /** Secret. */
  password: pulumi.Output<string> | undefined;
}

interface PublishedDetails extends Pick<CheckTarget, "durability" | "seal" | "audit"> {
  url: pulumi.Output<string>;
  ports: { client: number; metrics: number };
  applications: Record<string, Application>;
}

function hostOf({ name, namespace }: Ensemble): pulumi.Output<string> {
  return namespace.apply((known) => serviceHost(name, known));
}

/** The URL with the one DNS name of the ensemble. */
export function urlOf(ensemble: Ensemble, scheme: string, port: number): pulumi.Output<string> {
  return pulumi.interpolate`${scheme}://${hostOf(ensemble)}:${port}`;
}

/** Outputs only, no hooks: the constructor of a service shows what it creates, and in which order. */
export abstract class EnsembleComponent extends pulumi.ComponentResource {
  /** The one DNS name, for life. */
  declare readonly host: pulumi.Output<string>;
  declare readonly port: pulumi.Output<number>;
  declare readonly url: pulumi.Output<string>;
  /** Name of the ConfigMap whose key `ca.crt` is the trust bundle; null without TLS. */
  declare readonly certificateAuthority: pulumi.Output<string | null>;
  /** What `make check` needs to know; no secrets. */
  declare readonly checkTarget: pulumi.Output<CheckTarget>;
  protected readonly ensemble: Ensemble;
  private applications: Record<string, Application> = {};

  protected constructor(
    type: string,
    ensemble: Ensemble,
    args: pulumi.Inputs,
    options: pulumi.ComponentResourceOptions,
  ) {
    // A missing program is reported before any resource exists.
    ensemble.bundle();
    super(type, ensemble.name, args, options);
    const provider = this.getProvider("kubernetes:core/v1:Secret");
    requireMutable(`${ensemble.service} ${JSON.stringify(ensemble.name)}`, provider);
    this.ensemble = ensemble;
  }

  /** The last call in the constructor of a service. */
  protected publish({ url, ports, applications, durability, ...details }: PublishedDetails): void {
    const { service, name, members, tls } = this.ensemble;
    const names = namesOf(name);
    const host = hostOf(this.ensemble);
    const trust = tls === "off" ? null : names.trust;
    this.applications = applications;
    const outputs = {
      host,
      port: pulumi.output(ports.client),
      url,
      certificateAuthority: pulumi.output(trust),
      checkTarget: pulumi.all([this.ensemble.namespace, host]).apply(
        ([namespace, hostname]): CheckTarget => ({
          service,
          name,
          namespace,
          members: memberNames(name, members),
          peersService: names.peers,
          clientPort: ports.client,
          metricsPort: ports.metrics,
          host: hostname,
          tls,
          trust,
          adminSecret: names.admin,
          durability,
          applications: Object.fromEntries(
            this.ensemble.applications.map((application) => [application, applicationSecretName(name, application)]),
          ),
          ...details,
        }),
      ),
    };
    Object.assign(this, outputs);
    this.registerOutputs(outputs);
  }

  /** What one application logs in with. */
  application(application: string): Application {
    const published = this.applications[application];
    if (published === undefined) {
      const { service, name, applications } = this.ensemble;
      const known = applications.map((each) => JSON.stringify(each)).join(", ");
      throw new pulumi.RunError(
        `${service} ${JSON.stringify(name)}: ${JSON.stringify(application)} is not one of its applications, ` +
          `which are ${known || "none"}; add it to applications`,
      );
    }
    return published;
  }
}
