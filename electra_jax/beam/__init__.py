"""`prepare_beam` on Apache Beam, which only these modules import."""
