import { serve } from "../server";
import { kubernetesProvider } from "./provider";

// The version is put in by the build.
void serve(kubernetesProvider(process.env["PLUGIN_VERSION"] ?? "0.0.0"));
