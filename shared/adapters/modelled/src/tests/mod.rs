mod conformance;
mod paced;
mod rules;
