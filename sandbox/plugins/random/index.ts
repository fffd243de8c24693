import { serve } from "../server";
import { random } from "./random";

void serve(random);
