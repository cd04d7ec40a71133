"""The register of drugs: what each looks like and reads, and the search by what a person sees."""
