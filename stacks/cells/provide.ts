/** The Secrets and the files for Cells, made of what the components give out. */
import { Secret } from "@pulumi/kubernetes/core/v1/secret";
import * as pulumi from "@pulumi/pulumi";
import { ObjectStore } from "../../components/objectstore";
import { applicationSecretName, type EnsembleComponent, encoded } from "../../components/shared/deploy";
import { cellsNamespace, type ServiceName, type StackConfig } from "../config";
import type { CellsFacts, CellsStore, Endpoint, Login } from "./facts";
import { environmentFile, installFile, patchesFile, valuesFile } from "./files";
import { application, buckets } from "./needs";
import { type ChartService, chartSecrets, chartServices, loginOf, secretContent } from "./secrets";

/** Each is a file, and secret as a whole. */
export interface CellsOutputs {
  cellsValues: pulumi.Output<string>;
  cellsPatches: pulumi.Output<string>;
  cellsEnv: pulumi.Output<string>;
  cellsInstall: pulumi.Output<string>;
}

export interface Deployed {
  service: ServiceName;
  component: EnsembleComponent;
  applications: readonly string[];
}

export function provideCells(
  config: Pick<StackConfig, "cells" | "namespace">,
  deployed: Deployed[],
  surroundings: {
    /** That Cells runs in. */
    namespace: pulumi.Output<string>;
    /** Where the stack does not deploy an object store. */
    store?: pulumi.Output<CellsStore>;
  },
  options: pulumi.CustomResourceOptions,
): CellsOutputs {
  const { namespace, store } = surroundings;
  const used = deployed.filter(({ applications }) => applications.includes(application));
  const facts = factsOf(config, used, store);
  for (const service of chartServices) {
    const found = used.find((each) => each.service === service);
    if (found === undefined && (service !== "objectstore" || store === undefined)) continue;
    // When it is there, its user can log in.
    const dependsOn = found === undefined ? [] : [found.component];
    createSecret(service, facts, namespace, pulumi.mergeOptions(options, { dependsOn }));
  }
  const file = (content: (known: CellsFacts) => string): pulumi.Output<string> => pulumi.secret(facts.apply(content));
  return {
    cellsValues: file(valuesFile),
    cellsPatches: file(patchesFile),
    cellsEnv: file(environmentFile),
    cellsInstall: file(installFile),
  };
}

function createSecret(
  service: ChartService,
  facts: pulumi.Output<CellsFacts>,
  namespace: pulumi.Output<string>,
  options: pulumi.CustomResourceOptions,
): void {
  const { name, ...keys } = chartSecrets[service];
  const content = facts.apply((known) => {
    const login = loginOf(known, service);
    return login === undefined ? {} : secretContent(service, login);
  });
  const data = Object.fromEntries(Object.values(keys).map((key) => [key, content.apply((known) => known[key] ?? "")]));
  new Secret(
    `cells-${service}`,
    {
      metadata: {
        name,
        namespace,
        labels: { "app.kubernetes.io/managed-by": "pulumi", "app.kubernetes.io/part-of": "cells-services" },
      },
      type: "Opaque",
      data: encoded(data),
    },
    options,
  );
}

function factsOf(
  config: Pick<StackConfig, "cells" | "namespace">,
  used: Deployed[],
  store: pulumi.Output<CellsStore> | undefined,
): pulumi.Output<CellsFacts> {
  const services = Object.fromEntries(
    used.map(({ service, component }) => [service, serviceFacts(service, component)]),
  );
  return pulumi.output({ ...(store && { objectstore: store }), ...services }).apply((known) => ({
    ...(known as Omit<CellsFacts, "version" | "namespace">),
    version: config.cells.version,
    namespace: cellsNamespace(config),
  }));
}

/** In the words of `CellsFacts`. */
function serviceFacts(service: ServiceName, component: EnsembleComponent): pulumi.Output<Endpoint & Partial<Login>> {
  const { host, port, checkTarget } = component;
  const { username, password } = component.application(application);
  return pulumi
    .all([host, port, checkTarget, username, password, own(service, component)])
    .apply(([at, on, { name, tls }, user, word, more]) => ({
      host: at,
      port: on,
      tls,
      // By name: the Secret itself, with the token of Vault and the authorities, is completed in the cluster.
      secret: applicationSecretName(name, application),
      ...(user === undefined || word === undefined ? {} : { user, password: word }),
      ...more,
    }));
}

function own(service: ServiceName, component: EnsembleComponent): Record<string, pulumi.Input<unknown>> {
  switch (service) {
    case "mongodb":
      return { database: application, replicaSet: service };
    case "mysql":
      return { database: application };
    default:
      return component instanceof ObjectStore ? { region: component.region, buckets } : {};
  }
}
