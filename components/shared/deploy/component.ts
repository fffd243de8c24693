/** What every component gives out, in the same words. */
import * as pulumi from "@pulumi/pulumi";
import type { CheckTarget } from "../core/check";
import { namesOf, serviceHost } from "../core/names";
import type { Ensemble } from "./arguments";
import { requireMutable } from "./provider";
import { checkTarget, type TargetDetails } from "./target";

export interface PublishedDetails extends Omit<TargetDetails, "namespace" | "host"> {
  url: pulumi.Output<string>;
  applications: Record<string, Application>;
}

export interface Application {
  /** Name of the Secret: `username`, `password`, `url` and, with TLS, `ca.crt`. Given out when the user can log in. */
  secret: pulumi.Output<string>;
  /** As in the Secret, for those who cannot read it from there, and given out as late. Undefined where the cluster makes them. */
  username: pulumi.Output<string> | undefined;
  /** Secret. */
  password: pulumi.Output<string> | undefined;
}

function hostOf({ name, namespace }: Ensemble): pulumi.Output<string> {
  return namespace.apply((known) => serviceHost(name, known));
}

/** Of the one DNS name. */
export function urlOf(ensemble: Ensemble, scheme: string, port: number): pulumi.Output<string> {
  return pulumi.interpolate`${scheme}://${hostOf(ensemble)}:${port}`;
}

/** Outputs only, no hooks: what a service creates, and in which order, is read in its own constructor. */
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
    super(type, ensemble.name, args, options);
    requireMutable(
      `${ensemble.service} ${JSON.stringify(ensemble.name)}`,
      this.getProvider("kubernetes:core/v1:Secret"),
    );
    this.ensemble = ensemble;
  }

  /** Last in the constructor of a service. */
  protected publish({ url, applications, ...details }: PublishedDetails): void {
    const { name, namespace, tls } = this.ensemble;
    const host = hostOf(this.ensemble);
    this.applications = applications;
    const outputs = {
      host,
      port: pulumi.output(details.ports.client),
      url,
      certificateAuthority: pulumi.output(tls === "off" ? null : namesOf(name).trust),
      checkTarget: pulumi
        .all([namespace, host])
        .apply(([known, hostname]) => checkTarget(this.ensemble, { namespace: known, host: hostname, ...details })),
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
