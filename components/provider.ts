/** `cells-services/provider` */
export { type KubernetesProviderArguments, kubernetesProvider } from "./shared/deploy";
