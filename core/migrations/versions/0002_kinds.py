"""Runs have a kind, since measurements are attempted like runs."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("kind", sa.String(20), nullable=False, server_default="run"))


def downgrade() -> None:
    op.drop_column("runs", "kind")
