"""Sweeps, and the runs that are their points."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sweeps",
        sa.Column("id", sa.String(16), primary_key=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("left_out", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
    )
    op.create_table(
        "sweep_points",
        sa.Column("sweep_id", sa.String(16), sa.ForeignKey("sweeps.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("position", sa.Integer(), primary_key=True),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.String(16), nullable=False),
    )
    op.create_index("ix_sweep_points_run_id", "sweep_points", ["run_id"])


def downgrade() -> None:
    op.drop_table("sweep_points")
    op.drop_table("sweeps")
