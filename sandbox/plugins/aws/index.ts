import { serve } from "../server";
import { aws } from "./aws";

void serve(aws);
