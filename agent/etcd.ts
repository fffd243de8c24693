import { commands } from "../components/etcd/agent";
import { run } from "./main";

void run(commands);
