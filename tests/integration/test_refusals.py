"""The worker refuses to start, or to take a partition: status 2, one line that names the thing and the cure."""

from confluent_kafka import TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from app.processor import TABLES
from app.stream.topics import changelog_topic
from app.topics import FILLS, OUTPUTS, SIGNALS, SIZED_ORDERS
from tests.integration.cluster import Deployment, refuse
from tests.integration.traffic import Traffic

SEED = 20260107


class TestRefusals:
    """The worker refuses to start: status 2, one line that names the thing and the cure, no traceback."""

    def admin(self, deployment: Deployment) -> AdminClient:
        return AdminClient({"bootstrap.servers": deployment.settings.bootstrap_servers})

    def set_config(self, deployment: Deployment, topic: str, **config: str) -> None:
        entries = [
            ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
            for name, value in config.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        admin = self.admin(deployment)
        for future in admin.incremental_alter_configs([resource]).values():
            future.result()

    def add_partitions(self, deployment: Deployment, *topics: str) -> None:
        admin = self.admin(deployment)
        for future in admin.create_partitions([NewPartitions(topic, 3) for topic in topics]).values():
            future.result()

    def test_a_topic_is_missing(self, deployment: Deployment) -> None:
        prefix = "nowhere."
        refuse(deployment, f"{prefix}signals", "sizer topics create", SIZER_TOPIC_PREFIX=prefix)

    def test_partition_counts_differ(self, deployment: Deployment) -> None:
        fills = deployment.settings.topic(FILLS)
        self.add_partitions(deployment, fills)
        refuse(deployment, fills, "3 partitions", "same number")

    def test_cleanup_policies(self, deployment: Deployment) -> None:
        settings = deployment.settings
        orders, ids = changelog_topic(settings, "orders"), changelog_topic(settings, "signal_ids")
        self.set_config(deployment, ids, retention_ms="3600000")
        refuse(deployment, ids, "retention.ms=3600000", "604800000")
        self.set_config(deployment, orders, cleanup_policy="compact,delete")
        refuse(deployment, orders, "cleanup.policy=compact,delete", "set cleanup.policy=compact")
        self.set_config(deployment, settings.topic(SIZED_ORDERS), cleanup_policy="compact")
        refuse(deployment, settings.topic(SIZED_ORDERS), "set cleanup.policy=delete")

    def test_the_next_offset_is_gone(self, deployment: Deployment) -> None:
        settings = deployment.settings
        worker = deployment.started()
        deployment.send(Traffic(SEED).signals(50))
        deployment.wait_for_answers(50)
        assert worker.stop() == 0
        deployment.send(Traffic(SEED + 1).signals(50))
        admin = self.admin(deployment)
        gone = [TopicPartition(settings.topic(SIGNALS), partition, -1) for partition in range(2)]
        for future in admin.delete_records(gone).values():
            future.result()
        refuse(deployment, settings.topic(SIGNALS), "records were deleted before they were processed")

    def test_there_are_answers_but_no_state(self, deployment: Deployment) -> None:
        worker = deployment.started()
        deployment.send(Traffic(SEED).signals(20))
        deployment.wait_for_answers(20)
        assert worker.stop() == 0
        admin = self.admin(deployment)
        changelogs = [changelog_topic(deployment.settings, table) for table in TABLES]
        for future in admin.delete_topics(changelogs).values():
            future.result()
        deployment.create_topics()
        # Its local rows are those of topics that are no more: they are not taken for state.
        refuse(deployment, deployment.settings.topic(SIZED_ORDERS), "there is no state", "SIZER_APP_ID")

    def test_the_number_of_partitions_is_not_the_recorded_one(self, deployment: Deployment) -> None:
        settings = deployment.settings
        worker = deployment.started()
        deployment.send(Traffic(SEED).signals(20))
        deployment.wait_for_answers(20)
        everything = [settings.topic(topic) for topic in (SIGNALS, FILLS, *OUTPUTS)]
        self.add_partitions(deployment, *everything, *(changelog_topic(settings, table) for table in TABLES))
        assert worker.stop() == 0
        refuse(deployment, settings.topic(SIGNALS), "3 partitions", "written with 2")

    def test_the_data_folder_is_in_use(self, deployment: Deployment) -> None:
        worker = deployment.started()
        refuse(deployment, str(deployment.folder / "a"), "in use by another worker")
        assert worker.stop() == 0
